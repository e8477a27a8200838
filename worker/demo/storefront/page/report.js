// Says what a click did: in figures, in words, and to screen readers.

import { drawn } from '/page/clicks.js'
import { byId, counted, element } from '/page/dom.js'

const LOGGED = 30
const DID = {
  view: 'you viewed',
  click: 'you viewed',
  add_to_cart: 'you put into the cart',
  purchase: 'you bought',
  review: 'you reviewed',
}

export class Report {
  constructor(goods) {
    this.goods = goods
    this.log = byId('log')
    this.why = this.why.bind(this)
  }

  begin(visitor) {
    byId('visitor').textContent = visitor.user_id.slice(0, 'visitor-'.length + 4)
    this.log.replaceChildren()
    this.#figures({ ms: '–', seen: '0', changed: '–', loss: '–' })
    this.connection('connecting …')
    this.tell('Click three things of one kind and watch the shelf on the right.')
  }

  connection(text) {
    byId('connection').textContent = text
  }

  tell(text) {
    byId('told').textContent = text
  }

  /** Put the reason for an item into words. */
  why(reason) {
    if (reason.kind !== 'similar_to') return ''
    const did = DID[reason.event_type] || 'of'
    return `because ${did} ${this.goods.get(reason.item_id).title}`
  }

  /** Say what a recommendation changed, once it is drawn. */
  async changed(message, change, click, shelf) {
    const now = await drawn()
    const ms = click ? Math.round(now - click.began) : null
    const { support_loss_before: before, support_loss_after: after } = message.adaptation
    const changes = `${change.entered} new, ${change.left} gone, ${change.moved} moved`
    this.#figures({
      ms: ms === null ? '–' : `${ms} ms`,
      seen: String(message.events_seen),
      changed: changes,
      loss: after === null ? '–' : `${before.toFixed(1)} → ${after.toFixed(1)} nats`,
    })
    if (!click) return this.tell(`This is what ${counted(message.events_seen, 'event')} of yours made of it.`)
    const told = `You ${click.told}: ${changes}. Now ${shelf.mix.textContent}.`
    this.tell(told)
    this.announce(told)
    const data = { ms, event: message.caused_by, worker: message.produced_at - message.event_time }
    this.#note(`You ${click.told}`, `${ms} ms: ${changes}`, data)
  }

  erased() {
    this.#figures({ ms: '–', seen: '0', changed: '–', loss: '–' })
    const told = 'You are erased: the worker has removed what it knew of you.'
    this.tell(told)
    this.announce(told)
    this.#note('You asked to be erased', 'done')
  }

  announce(text) {
    byId('announcer').textContent = text
  }

  #note(what, result, data = {}) {
    this.log.prepend(element('li', { data }, what, element('span', { class: 'result' }, result)))
    while (this.log.children.length > LOGGED) this.log.lastChild.remove()
  }

  #figures({ ms, seen, changed, loss }) {
    byId('ms').textContent = ms
    byId('seen').textContent = seen
    byId('changed').textContent = changed
    byId('loss').textContent = loss
  }
}
