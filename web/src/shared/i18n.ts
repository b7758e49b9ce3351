/** Languages: zh-CN first, en second. The page's choice goes before what was chosen earlier, that before the browser's. */

import type { Plugin } from 'vue'
import { createI18n } from 'vue-i18n'
import en from './locale/en.js'
import zhCN from './locale/zh-CN.js'

export const LOCALES = ['zh-CN', 'en'] as const
export type Locale = (typeof LOCALES)[number]
/** Texts by name, nested. */
export type Texts = { [name: string]: string | Texts }

const KEY = 'trunkline.locale'

/** The languages with a page's own texts beside the shared ones. */
export function createTexts(own: Record<Locale, Texts>): Plugin {
  const messages = { 'zh-CN': { ...zhCN, ...own['zh-CN'] }, en: { ...en, ...own.en } }
  const locale = preferred(new URLSearchParams(location.search).get('lang'), stored(), ...navigator.languages)
  document.documentElement.lang = locale
  return createI18n({ legacy: false, locale, fallbackLocale: 'zh-CN', messages })
}

/** The first one that is a language of ours, by its name or by the part before the dash. */
export function preferred(...wishes: readonly (string | null | undefined)[]): Locale {
  for (const wish of wishes) {
    const language = wish?.toLowerCase().split('-')[0]
    const found = LOCALES.find((locale) => language && locale.toLowerCase().split('-')[0] === language)
    if (found) return found
  }
  return 'zh-CN'
}

/** Changes the language, also for the next time. */
export function setLocale(i18n: { locale: { value: string } }, locale: Locale): void {
  i18n.locale.value = locale
  document.documentElement.lang = locale
  try {
    localStorage.setItem(KEY, locale)
  } catch {
    // Then it holds for this page.
  }
}

function stored(): string | undefined {
  try {
    return localStorage.getItem(KEY) ?? undefined
  } catch {
    return undefined
  }
}
