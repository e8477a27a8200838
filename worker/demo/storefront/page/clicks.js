// From what the visitor does to an event, and from the answer back to the click.

const REMEMBERED = 200

export class Clicks {
  #waiting = new Map()

  /**
   * Send an event through the collector's snippet, at once: by itself it waits 200 ms for more.
   *
   * `began` is when the visitor acted (an Event's timeStamp), `told` what that was, in words.
   */
  send(user, type, fields, { began, told }) {
    if (!window.innerloop) return false
    window.innerloop.user = user
    const id = window.innerloop(type, fields)
    window.innerloop.flush()
    if (!id) return false
    this.#waiting.set(id, { began, told })
    if (this.#waiting.size > REMEMBERED) this.#waiting.delete(this.#waiting.keys().next().value)
    return true
  }

  /** Return the click that a recommendation answers, if it is one of this page's. */
  answeredBy(recommendation) {
    const click = this.#waiting.get(recommendation.caused_by)
    for (const id of [recommendation.caused_by, ...(recommendation.also_caused_by || [])]) {
      this.#waiting.delete(id)
    }
    return click
  }

  forget() {
    this.#waiting.clear()
  }
}

/** Resolve once the browser has drawn what was changed until now, with that moment. */
export const drawn = () =>
  new Promise(resolve => {
    const done = () => setTimeout(() => resolve(performance.now()))
    if (document.hidden) done()
    else requestAnimationFrame(done)
  })
