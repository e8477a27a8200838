// The rest of the shop: categories and search results.

import { card } from '/page/cards.js'
import { byId, counted, element } from '/page/dom.js'

const AT_ONCE = 12

export class Browse {
  #items = []
  #shown = 0

  /** `on` as for `card`. */
  constructor(goods, on) {
    this.goods = goods
    this.on = on
    this.heading = byId('browse-heading')
    this.list = byId('browse-cards')
    this.more = byId('more')
    this.more.addEventListener('click', () => this.#showMore())
    this.buttons = goods.categories.map(category => {
      const button = element('button', { type: 'button', 'aria-pressed': 'false' }, category)
      button.addEventListener('click', () => this.category(category))
      return button
    })
    byId('categories').replaceChildren(...this.buttons)
    if (goods.categories.length) this.category(goods.categories[0])
  }

  category(category) {
    this.#show(category, this.goods.of(category), category)
  }

  /** Show what a query finds; return how much that is. */
  results(query) {
    const found = this.goods.search(query)
    this.#show(`${counted(found.length, 'result')} for “${query}”`, found)
    this.heading.focus()
    return found.length
  }

  #show(heading, items, category) {
    this.heading.textContent = heading
    for (const button of this.buttons) {
      button.setAttribute('aria-pressed', String(button.textContent === category))
    }
    this.#items = items
    this.#shown = 0
    this.list.replaceChildren()
    this.#showMore()
  }

  #showMore() {
    const next = this.#items.slice(this.#shown, this.#shown + AT_ONCE)
    const cards = next.map(item => card(item, this.goods, this.on))
    this.list.append(...cards)
    if (this.#shown) cards[0]?.querySelector('.open').focus()
    this.#shown += next.length
    this.more.hidden = this.#shown >= this.#items.length
  }
}
