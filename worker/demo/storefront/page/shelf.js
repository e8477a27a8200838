// A shelf of recommendations that shows how it changes.

import { card } from '/page/cards.js'
import { byId, element } from '/page/dom.js'

const SHOWN = 10
const MOVE_MS = 450

export class Shelf {
  #places = new Map()

  /** `name` is that of its section; `on` as for `card`. */
  constructor(name, goods, on) {
    this.list = byId(`${name}-cards`)
    this.heading = byId(`${name}-heading`)
    this.mix = byId(`${name}-mix`)
    this.goods = goods
    this.on = on
  }

  get ids() {
    return [...this.#places.keys()]
  }

  /**
   * Show a list of recommended items; return what changed.
   *
   * `why(reason)` puts a reason into words; "" shows none. With `quiet` nothing is marked as new.
   */
  show(items, { why = () => '', quiet = false } = {}) {
    const shown = items.slice(0, SHOWN)
    const before = this.#places
    this.#places = new Map(shown.map(({ item_id }, place) => [item_id, place]))
    const kept = new Map([...this.list.children].map(node => [node.dataset.item, node]))
    const nodes = shown.map(({ item_id, reason }, place) => {
      const node = kept.get(item_id) || card(this.goods.get(item_id), this.goods, this.on)
      mark(node, quiet ? '' : change(before.get(item_id), place))
      explain(node, why(reason))
      return node
    })
    this.#rearrange(nodes)
    this.mix.textContent = this.#mixture(shown)
    const ids = [...this.#places.keys()]
    return {
      entered: ids.filter(id => !before.has(id)).length,
      left: [...before.keys()].filter(id => !this.#places.has(id)).length,
      moved: ids.filter(id => before.has(id) && before.get(id) !== this.#places.get(id)).length,
    }
  }

  clear(told) {
    this.#places = new Map()
    this.#rearrange([])
    this.mix.textContent = told
  }

  /** "5 Produce, 4 Grocery": what the shelf is made of. */
  #mixture(shown) {
    const counts = new Map()
    for (const { item_id } of shown) {
      const { category } = this.goods.get(item_id)
      counts.set(category, (counts.get(category) || 0) + 1)
    }
    const parts = [...counts].sort((a, b) => b[1] - a[1])
    return parts.map(([category, n]) => `${n} ${category}`).join(', ')
  }

  /** Put the cards in order; let them travel from where they were (FLIP), unless that is unwanted. */
  #rearrange(nodes) {
    const places = new Map([...this.list.children].map(node => [node, node.getBoundingClientRect()]))
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null
    this.list.replaceChildren(...nodes)
    if (focused) (focused.isConnected ? focused : this.heading).focus({ preventScroll: true })
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) return
    for (const node of nodes) {
      for (const running of node.getAnimations()) running.cancel()
    }
    for (const node of nodes) travel(node, places.get(node), node.getBoundingClientRect())
  }
}

function travel(node, from, to) {
  const options = { duration: MOVE_MS, easing: 'cubic-bezier(.2, .8, .2, 1)' }
  if (!from) {
    node.animate([{ opacity: 0, transform: 'scale(.9)' }, { opacity: 1, transform: 'none' }], options)
  } else if (from.x !== to.x || from.y !== to.y) {
    const shift = `translate(${from.x - to.x}px, ${from.y - to.y}px)`
    node.animate([{ transform: shift }, { transform: 'none' }], options)
  }
}

function change(before, place) {
  if (before === undefined) return 'new'
  if (before === place) return ''
  return before > place ? `↑ ${before - place}` : `↓ ${place - before}`
}

function mark(node, text) {
  node.querySelector('.change')?.remove()
  node.classList.toggle('entered', text === 'new')
  if (!text) return
  const spoken = text.replace('↑ ', 'up ').replace('↓ ', 'down ')
  node.append(element('span', { class: 'change', role: 'img', 'aria-label': spoken }, text))
}

function explain(node, text) {
  node.querySelector('.why')?.remove()
  if (text) node.querySelector('.open').after(element('p', { class: 'why' }, text))
}
