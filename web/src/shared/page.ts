/** How each page begins: texts, appearance, session, and then what it shows. */

import { createApp } from 'vue'
import type { App, Component } from 'vue'
import { createTexts } from './i18n.js'
import type { Locale, Texts } from './i18n.js'
import './theme.css'
import { beginTheme } from './theme.js'

/** Mounts a page's root; `props` are the root's. */
export function beginPage(root: Component, texts: Record<Locale, Texts>, props: Record<string, unknown>, more?: (app: App) => void): void {
  beginTheme()
  addEventListener('vite:preloadError', () => void loadAnew())
  const app = createApp(root, props)
  app.use(createTexts(texts))
  more?.(app)
  app.mount('#page')
}

const LOADED_ANEW = 'trunkline.loaded_anew'
/** A part that is missing so soon after isn't there for another reason. */
const AGAIN_MS = 60_000

/**
 * A part of the page didn't load. If the server answers, it hasn't that part any more: the page is of an older version and is loaded anew,
 * once. If it doesn't, what is shown is better than a browser's error page, and who asked for the part deals with its absence.
 */
async function loadAnew(): Promise<void> {
  try {
    if (Date.now() - Number(sessionStorage.getItem(LOADED_ANEW) ?? 0) < AGAIN_MS) return
    const answer = await fetch(location.pathname, { method: 'HEAD', cache: 'no-store' })
    if (!answer.ok) return
    // Without a memory it might never end.
    sessionStorage.setItem(LOADED_ANEW, String(Date.now()))
  } catch {
    return
  }
  location.reload()
}
