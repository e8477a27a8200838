"""What a page has to be for everybody to use it: names for what can be used, and contrast."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import BrowserContext, Page

USED = {"button", "link", "textbox", "searchbox", "checkbox", "combobox", "heading", "region"}

_CONTRASTS = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    return [...canvas.getImageData(0, 0, 1, 1).data]
  }
  const luminance = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * R + 0.7152 * G + 0.0722 * B
  }
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor)
      if (color[3] === 255) return color
    }
    return rgba('Canvas')
  }
  const texts = [...document.querySelectorAll('body *')].filter(node =>
    node.checkVisibility() && !node.closest('.hidden, .skip, noscript, :disabled')
    && [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim()))
  return texts.map(node => {
    const pair = [luminance(rgba(getComputedStyle(node).color)), luminance(behind(node))]
    const [dark, light] = pair.sort((a, b) => a - b)
    return [node.textContent.trim().slice(0, 40), (light + 0.05) / (dark + 0.05)]
  })
}"""


@dataclass(frozen=True)
class Contrast:
    """Of a text with what is behind it, by WCAG 2.2's definition."""

    text: str
    ratio: float


def contrasts(page: Page) -> list[Contrast]:
    """Return the contrast of every visible text."""
    found = [Contrast(text, ratio) for text, ratio in page.evaluate(_CONTRASTS)]
    assert len(found) > 50  # else nothing was looked at
    return found


def unnamed(context: BrowserContext, page: Page) -> list[str]:
    """Return the roles of what assistive technology would find no name for, as Chromium says."""
    session = context.new_cdp_session(page)
    session.send("Accessibility.enable")
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    used = [node for node in nodes if not node["ignored"] and node["role"]["value"] in USED]
    assert len(used) > 30
    return [n["role"]["value"] for n in used if not n.get("name", {}).get("value", "").strip()]
