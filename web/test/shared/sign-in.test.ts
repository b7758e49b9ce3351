import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'
import { shallowRef } from 'vue'
import { createTexts } from '@/shared/i18n.js'
import SignIn from '@/shared/components/SignIn.vue'
import type { Session, SignedOut } from '@/shared/session.js'

const panel = (why: SignedOut, sign_in_url?: string) => {
  const screens = { cell: 'default', insecure: false, base_map: {}, ...(sign_in_url === undefined ? {} : { sign_in_url }) }
  const session = { signedOut: shallowRef(why), screens: shallowRef(screens), signIn: () => {} } as unknown as Session
  return mount(SignIn, { props: { session }, global: { plugins: [createTexts({ 'zh-CN': {}, en: {} })] } })
}

test.each(['/login', 'https://shop.example/login'])('who needs a token is led to %s, with the way back', (where) => {
  const link = panel('no_token', where).get('a').attributes('href') ?? ''
  expect(new URL(link).pathname).toBe('/login')
  expect(new URL(link).searchParams.get('return')).toBe(location.href)
})

test('without such a page a token is asked for, and a revoked link asks for nothing', () => {
  expect(panel('token_expired').find('form').exists()).toBe(true)
  expect(panel('revoked', '/login').find('a, form').exists()).toBe(false)
  expect(panel('none').html()).toBe('<!--v-if-->')
})
