// The catalogue in the browser: look-up, categories, search.

const OTHER = 'Other'

export class Goods {
  constructor(items) {
    this.items = items.sort((a, b) => a.title.localeCompare(b.title))
    this.byId = new Map(items.map(item => [item.id, item]))
    const counts = new Map()
    for (const item of items) {
      item.category = item.categories[0] || OTHER
      item.words = words([item.title, ...item.categories].join(' '))
      counts.set(item.category, (counts.get(item.category) || 0) + 1)
    }
    /** The largest first. */
    this.categories = [...counts].sort((a, b) => b[1] - a[1]).map(([name]) => name)
  }

  /** Return an item; one that came after the page was opened is known by its id alone. */
  get(id) {
    return this.byId.get(id) || { id, title: id, categories: [], category: OTHER, price: null }
  }

  of(category) {
    return this.items.filter(item => item.category === category)
  }

  /** Return the items that have all words of the query, in title or category, by their beginnings. */
  search(query) {
    const asked = words(query)
    if (!asked.length) return []
    return this.items.filter(item => asked.every(word => item.words.some(w => w.startsWith(word))))
  }

  /** Return a hue for a category, the same in every visit. */
  hue(category) {
    const place = this.categories.indexOf(category)
    return Math.round((place < 0 ? 0 : place) * 137.508) % 360 // the golden angle keeps hues apart
  }
}

const words = text => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []

export async function loadGoods() {
  const response = await fetch('/api/goods')
  if (!response.ok) throw new Error((await response.json()).detail)
  return new Goods(await response.json())
}
