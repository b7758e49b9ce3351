/** Light, dark, or as the device has it. The colours themselves are in theme.css. */

import { ref } from 'vue'
import type { Ref } from 'vue'

export const THEMES = ['auto', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const KEY = 'trunkline.theme'
const isTheme = (text: string | null): text is Theme => THEMES.includes(text as Theme)

export const theme: Ref<Theme> = ref('auto')
/** What is shown: `auto` resolved. */
export const dark: Ref<boolean> = ref(false)

const device = matchMedia('(prefers-color-scheme: dark)')

/** Takes the address's (`?theme=dark`), the stored, or the device's. */
export function beginTheme(): void {
  let stored: string | null = null
  try {
    stored = localStorage.getItem(KEY)
  } catch {
    // As the device has it.
  }
  const asked = new URLSearchParams(location.search).get('theme')
  theme.value = isTheme(asked) ? asked : isTheme(stored) ? stored : 'auto'
  device.addEventListener('change', show)
  show()
}

export function setTheme(to: Theme): void {
  theme.value = to
  show()
  try {
    localStorage.setItem(KEY, to)
  } catch {
    // Then it holds for this page.
  }
}

function show(): void {
  dark.value = theme.value === 'auto' ? device.matches : theme.value === 'dark'
  document.documentElement.dataset['theme'] = dark.value ? 'dark' : 'light'
}
