// The visitor's recommendations, as the gateway sends them.

const GATEWAY = document.querySelector('meta[name=gateway]').content

export class Stream {
  #source

  /** `on` has the functions recommendation(message), erased(), state(text), refused(). */
  constructor(visitor, on) {
    const path = `/v1/recommendations/${encodeURIComponent(visitor.user_id)}/events`
    const source = new EventSource(`${GATEWAY}${path}?token=${visitor.token}`)
    source.addEventListener('open', () => on.state('connected'))
    source.addEventListener('recommendation', ({ data }) => on.recommendation(JSON.parse(data)))
    source.addEventListener('erased', () => on.erased())
    source.addEventListener('error', () => {
      if (source.readyState === EventSource.CLOSED) on.refused()
      else on.state('reconnecting …')
    })
    this.#source = source
  }

  close() {
    this.#source.close()
  }
}
