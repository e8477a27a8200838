// Who is visiting: a random id and a token, kept in this browser's profile.

const KEPT = 'innerloop.storefront.visitor'

const kept = () => {
  try {
    return JSON.parse(localStorage.getItem(KEPT))
  } catch {
    return null // storage is forbidden, or holds something else
  }
}

async function post(path, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {}
  const response = await fetch(path, { method: 'POST', headers })
  const body = await response.json()
  if (!response.ok) throw new Error(body.detail)
  return body
}

/** Return the visitor of this profile, with a fresh token; somebody new if there is none. */
export async function enter({ anew = false } = {}) {
  const visitor = await post('/api/visitor', anew ? null : kept()?.token)
  try {
    localStorage.setItem(KEPT, JSON.stringify(visitor))
  } catch {} // then the next visit is somebody else's
  return visitor
}

/** Ask for everything that is kept of the visitor to be removed. */
export const erase = visitor => post('/api/erase', visitor.token)
