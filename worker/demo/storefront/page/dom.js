// Making elements.

/** Return an element with properties (`data` and `class` as in HTML) and children. */
export function element(tag, { data = {}, ...properties } = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class') made.className = value
    else if (name.includes('-')) made.setAttribute(name, value)
    else made[name] = value
  }
  Object.assign(made.dataset, data)
  made.append(...children)
  return made
}

export const byId = id => document.getElementById(id)

/** "3 things", "1 thing". */
export const counted = (n, thing, things = thing + 's') => `${n} ${n === 1 ? thing : things}`
