// A product as a card.

import { element } from '/page/dom.js'

/**
 * Return a list item: a button that opens the product, and one that puts it into the cart.
 *
 * `on` has the functions open(item, event) and add(item, event).
 */
export function card(item, goods, on) {
  const tile = element('span', { class: 'tile', 'aria-hidden': 'true' }, initial(item.category))
  tile.style.setProperty('--hue', goods.hue(item.category))
  const open = element(
    'button',
    { type: 'button', class: 'open' },
    tile,
    element('span', { class: 'title' }, item.title),
    element('span', { class: 'meta' }, described(item)),
  )
  open.addEventListener('click', event => on.open(item, event))
  const add = element(
    'button',
    { type: 'button', class: 'add', 'aria-label': `Add ${item.title} to the cart`, title: 'Add to the cart' },
    '+',
  )
  add.addEventListener('click', event => on.add(item, event))
  const made = element('li', { class: 'card', data: { item: item.id, category: item.category } })
  made.append(open, add)
  return made
}

const initial = category => [...category][0].toUpperCase()

const described = item =>
  [...(item.categories.length ? item.categories : [item.category]), price(item.price)]
    .filter(Boolean)
    .join(' · ')

export const price = amount => (amount === null ? '' : amount.toFixed(2))
