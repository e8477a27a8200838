/* <script src="https://COLLECTOR/v1/snippet.js" data-key="KEY"></script>
   innerloop('view', {item_id: 'p-42'}); innerloop.consent(false); innerloop.user = 'u-7' */
(() => {
  const me = document.currentScript, data = me.dataset,
    url = data.url || me.src.replace(/snippet\.js.*/, 'events'),
    id = () => crypto.randomUUID ? crypto.randomUUID()
      : Date.now().toString(36) + Math.random().toString(36).slice(2),
    kept = (name, value) => {
      name = 'innerloop.' + name
      try { // storage may be forbidden
        if (value === undefined) return localStorage[name]
        if (value) localStorage[name] = value
        else delete localStorage[name]
      } catch {}
    }
  let queue = [], timer, agreed = kept('consent') || data.consent || 'yes'

  const send = async (events, leaving) => {
    const body = JSON.stringify({ write_key: data.key, sent_at: Date.now(), events })
    try {
      if (leaving && navigator.sendBeacon(url, body)) return
      const { status } = await fetch(url, { method: 'POST', body, keepalive: true })
      if (status != 429 && status < 500) return
    } catch {}
    queue = [...events, ...queue].slice(-200)
    timer ||= setTimeout(flush, 5000)
  }
  const flush = leaving => {
    clearTimeout(timer)
    timer = 0
    const all = queue
    queue = []
    while (all.length) send(all.splice(0, 20), leaving === true)
  }
  const innerloop = window.innerloop = (type, fields) => {
    if (agreed != 'yes') return
    innerloop.user ||= kept('user') || id()
    kept('user', innerloop.user)
    const event = { event_id: id(), user_id: innerloop.user, type, time: Date.now(), ...fields }
    queue.push(event)
    timer ||= setTimeout(flush, 200)
    return event.event_id
  }
  innerloop.flush = flush
  innerloop.consent = yes => {
    kept('consent', agreed = yes ? 'yes' : 'no')
    if (!yes) kept('user', innerloop.user = ''), queue = []
  }
  addEventListener('pagehide', () => flush(true))
  document.addEventListener('visibilitychange', () => document.hidden && flush(true))
})()
