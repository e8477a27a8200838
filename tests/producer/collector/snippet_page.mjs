// A page for the snippet: just what it uses of a browser. Prints what the scenario named did.
//
//     node snippet_page.mjs SNIPPET SCENARIO [COLLECTOR KEY]

import { readFileSync } from 'node:fs'

const [, , file, scenario, collector = 'https://collect.example', key = 'KEY'] = process.argv
const source = readFileSync(file, 'utf8')

function page ({ data = {}, stored = {}, noStorage = false, statuses = [], live = false } = {}) {
  const sent = []
  const timers = []
  const pending = []
  const listeners = {}
  const listen = (name, call) => { (listeners[name] ??= []).push(call) }
  const storage = noStorage
    ? new Proxy({}, {
      get () { throw new Error('SecurityError') }, set () { throw new Error('SecurityError') }
    })
    : stored
  const globals = {
    document: {
      currentScript: { src: `${collector}/v1/snippet.js`, dataset: { key, ...data } },
      hidden: false,
      addEventListener: listen
    },
    localStorage: storage,
    crypto,
    navigator: {
      sendBeacon (url, body) {
        sent.push({ by: 'beacon', url, body })
        return !globals.beaconRefuses
      }
    },
    fetch: async (url, options) => {
      sent.push({ by: 'fetch', url, ...options })
      if (live) {
        pending.push(fetch(url, options))
        return await pending.at(-1)
      }
      const status = statuses.shift() ?? 202
      if (status === 0) throw new TypeError('network')
      return { status }
    },
    setTimeout: (call, ms) => timers.push({ call, ms }),
    clearTimeout: number => { if (number) delete timers[number - 1] },
    addEventListener: listen
  }
  globals.window = globals
  const names = Object.keys(globals)
  new Function(...names, source)(...names.map(name => globals[name]))
  return {
    sent,
    timers,
    stored,
    globals,
    innerloop: globals.innerloop,
    // Lets the next timer go off, and what it began come to its end.
    async tick () {
      const index = timers.findIndex(Boolean)
      const [timer] = timers.splice(index, 1, undefined)
      timer.call()
      await Promise.all(pending)
      await new Promise(resolve => setTimeout(resolve))
      return timer.ms
    },
    fire (name) { for (const call of listeners[name]) call() },
    events: () => sent.flatMap(({ body }) => JSON.parse(body).events)
  }
}

const scenarios = {
  async browse () {
    const live = collector.startsWith('http://127')
    const one = page({ live })
    const ids = [
      one.innerloop('view', { item_id: 'p-42', surface: 'home' }),
      one.innerloop('search', { query: 'rain boots' })
    ]
    const waits = [one.sent.length, await one.tick()]
    const other = page({ live, stored: one.stored })
    other.innerloop('click', { item_id: 'p-43' })
    await other.tick()
    return { ids, waits, sent: one.sent, events: [...one.events(), ...other.events()] }
  },
  async leave () {
    const here = page()
    for (let n = 0; n < 45; n++) here.innerloop('view', { item_id: `p-${n}` })
    here.globals.document.hidden = true
    here.fire('visibilitychange')
    here.fire('pagehide')
    here.globals.beaconRefuses = true
    here.innerloop('view', { item_id: 'last' })
    here.fire('pagehide')
    return { sent: here.sent, events: here.events() }
  },
  async refuse () {
    const here = page({ data: { consent: 'no' } })
    const before = here.innerloop('view', { item_id: 'p-1' })
    here.innerloop.consent(true)
    here.innerloop('view', { item_id: 'p-2' })
    const user = here.stored['innerloop.user']
    here.innerloop.consent(false)
    here.innerloop('view', { item_id: 'p-3' })
    here.innerloop.flush()
    const again = page({ stored: here.stored })
    again.innerloop('view', { item_id: 'p-4' })
    again.innerloop.flush()
    again.innerloop.consent(true)
    again.innerloop('view', { item_id: 'p-5' })
    again.innerloop.flush()
    return { before, user, stored: here.stored, sent: here.sent, events: again.events() }
  },
  async fail () {
    const here = page({ statuses: [503, 0, 429, 202, 400] })
    const id = here.innerloop('view', { item_id: 'p-1' })
    const waits = []
    for (let n = 0; n < 4; n++) waits.push(await here.tick())
    here.innerloop('view', { item_id: '' })
    waits.push(await here.tick())
    return { id, waits, events: here.events(), left: here.timers.filter(Boolean).length }
  },
  async forbid () {
    const here = page({ noStorage: true, data: { url: 'https://other.example/v1/events' } })
    here.innerloop('view', { item_id: 'p-1' })
    here.innerloop('view', { item_id: 'p-2' })
    here.innerloop.user = 'u-7'
    here.innerloop('view', { item_id: 'p-3', time: 5 })
    await here.tick()
    return { sent: here.sent, events: here.events() }
  }
}

console.log(JSON.stringify(await scenarios[scenario]()))
