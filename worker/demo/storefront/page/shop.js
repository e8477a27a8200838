// The page: wires visitor, clicks, stream and shelves together.

import { Browse } from '/page/browse.js'
import { Cart } from '/page/cart.js'
import { Clicks } from '/page/clicks.js'
import { byId } from '/page/dom.js'
import { loadGoods } from '/page/goods.js'
import { Report } from '/page/report.js'
import { Shelf } from '/page/shelf.js'
import { Stream } from '/page/stream.js'
import { enter, erase } from '/page/visitor.js'

const AGAIN_MS = 2000

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

class Shop {
  #visitor
  #stream
  #latest = null

  constructor(goods) {
    const everywhere = surface => ({
      open: (item, event) => this.#open(item, event, surface),
      add: (item, event) => this.#add(item, event, surface),
    })
    this.clicks = new Clicks()
    this.report = new Report(goods)
    this.start = new Shelf('start', goods, everywhere('start shelf'))
    this.yours = new Shelf('yours', goods, everywhere('adapted shelf'))
    this.browse = new Browse(goods, everywhere('browse'))
    this.cart = new Cart({
      removed: (item, event) =>
        this.#send('remove_from_cart', paid(item), `removed ${item.title} from the cart`, event),
      bought: (lines, event) => {
        for (const { item, quantity } of lines) {
          this.#send('purchase', { ...paid(item), quantity }, `bought ${item.title}`, event)
        }
      },
    })
    byId('search').addEventListener('submit', event => this.#search(event))
    byId('new-visitor').addEventListener('click', () => this.visit({ anew: true }))
    byId('erase').addEventListener('click', () => this.#erase())
  }

  /** Let the visitor in, and show what there is for them. */
  async visit(how) {
    this.#stream?.close()
    this.clicks.forget()
    this.cart.empty()
    this.#latest = null
    this.#visitor = await enter(how)
    this.report.begin(this.#visitor)
    this.#fill(false)
    this.yours.clear('asking the worker …')
    await this.#showStart()
    this.#listen()
  }

  #listen() {
    this.#stream = new Stream(this.#visitor, {
      recommendation: message => this.#recommended(message),
      erased: () => this.#erased(),
      state: text => this.report.connection(text),
      refused: async () => {
        this.report.connection('refused, trying again …')
        const visitor = this.#visitor
        await pause(AGAIN_MS)
        if (visitor === this.#visitor) await this.visit()
      },
    })
  }

  /** The list for whom nothing is known of: on the left from now on, on the right till a click. */
  async #showStart() {
    const visitor = this.#visitor
    for (;;) {
      const response = await fetch('/api/start')
      if (visitor !== this.#visitor) return
      if (response.ok) {
        const { items } = await response.json()
        this.start.show(items, { quiet: true })
        if (!this.#latest) this.yours.show(items, { quiet: true })
        return
      }
      this.report.tell((await response.json()).detail)
      await pause(AGAIN_MS)
    }
  }

  async #recommended(message) {
    if (message.user_id !== this.#visitor.user_id) return // the stream of a visitor before
    this.#fill(false)
    const quiet = this.#latest === null && !this.yours.ids.length
    this.#latest = message
    const change = this.yours.show(message.items, { quiet, why: this.report.why })
    await this.report.changed(message, change, this.clicks.answeredBy(message), this.yours)
  }

  async #erase() {
    this.report.tell('Erasing …')
    try {
      await erase(this.#visitor)
    } catch (error) {
      this.report.tell(`Not erased: ${error.message}`)
    }
  }

  #erased() {
    this.#latest = null
    this.clicks.forget()
    this.yours.clear('empty')
    this.#fill(true)
    this.report.erased()
  }

  #fill(erased) {
    byId('yours-empty').hidden = !erased
  }

  #open(item, event, surface) {
    const more = { item_id: item.id, surface, ...this.#shownBy(item) }
    this.#send(surface === 'browse' ? 'view' : 'click', more, `viewed ${item.title}`, event)
  }

  #add(item, event, surface) {
    this.cart.add(item)
    const more = { ...paid(item), quantity: 1, surface, ...this.#shownBy(item) }
    this.#send('add_to_cart', more, `put ${item.title} into the cart`, event)
  }

  #search(event) {
    event.preventDefault()
    const query = byId('query').value.trim()
    if (!query) return
    this.browse.results(query)
    this.#send('search', { query, surface: 'search' }, `searched for “${query}”`, event)
  }

  /** Say which recommendation showed an item, so that the click can be credited to it. */
  #shownBy(item) {
    const shown = this.#latest && this.yours.ids.includes(item.id)
    return shown ? { recommendation_id: this.#latest.recommendation_id } : {}
  }

  #send(type, fields, told, event) {
    const sent = this.clicks.send(this.#visitor.user_id, type, fields, { began: event.timeStamp, told })
    this.report.tell(sent ? `You ${told} …` : 'The event cannot be sent: the collector is not there.')
  }
}

const paid = item => ({ item_id: item.id, ...(item.price === null ? {} : { price: item.price }) })

async function open() {
  for (;;) {
    try {
      const shop = new Shop(await loadGoods())
      await shop.visit()
      return
    } catch (error) {
      byId('told').textContent = `Waiting for the shop: ${error.message}`
      await pause(AGAIN_MS)
    }
  }
}

open()
