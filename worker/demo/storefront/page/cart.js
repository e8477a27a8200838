// What the visitor means to buy.

import { price } from '/page/cards.js'
import { byId, element } from '/page/dom.js'

export class Cart {
  #items = new Map()

  /** `on` has the functions removed(item, event) and bought(items, event). */
  constructor(on) {
    this.on = on
    this.heading = byId('cart-heading')
    this.button = byId('buy')
    this.button.addEventListener('click', event => this.#buy(event))
    this.#draw()
  }

  add(item) {
    const quantity = (this.#items.get(item.id)?.quantity || 0) + 1
    this.#items.set(item.id, { item, quantity })
    this.#draw()
  }

  empty() {
    this.#items.clear()
    this.#draw()
  }

  #remove(item, event) {
    this.#items.delete(item.id)
    this.#draw()
    this.heading.focus()
    this.on.removed(item, event)
  }

  #buy(event) {
    const bought = [...this.#items.values()]
    this.empty()
    this.heading.focus()
    this.on.bought(bought, event)
  }

  #draw() {
    const lines = [...this.#items.values()]
    const pieces = lines.reduce((sum, { quantity }) => sum + quantity, 0)
    byId('cart-count').textContent = `(${pieces})`
    this.button.disabled = !pieces
    byId('cart').replaceChildren(
      ...lines.map(({ item, quantity }) => {
        const remove = element(
          'button',
          { type: 'button', 'aria-label': `Remove ${item.title} from the cart` },
          'Remove',
        )
        remove.addEventListener('click', event => this.#remove(item, event))
        const title = element('span', {}, `${quantity} × ${item.title}`)
        return element('li', {}, title, element('span', {}, price(item.price)), remove)
      }),
    )
  }
}
