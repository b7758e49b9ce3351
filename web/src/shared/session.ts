/**
 * Who a page is: where its token comes from, the connection and the REST client that show it, and what is to be done when the
 * server doesn't take it any more. One per page, made before anything is drawn.
 *
 * A token comes in the address's fragment (`#token=…`, which no server and no log sees, and which is taken out at once), by the
 * sign-in panel, from where the page kept it, or, of a share link, in its path. Without one the server's cookie is tried.
 */

import { Client } from '@trunkline/client'
import type { ClientState } from '@trunkline/client'
import { Rest } from '@trunkline/client/rest'
import type { Screens } from '@trunkline/client/rest'
import { shallowRef } from 'vue'
import type { ShallowRef } from 'vue'

/** What a token says of its bearer. Read for display; only the server can verify it. */
export interface Claims {
  role: 'customer' | 'shared' | 'rider' | 'warehouse' | 'system' | 'operations'
  sub: string
  /** Of a share link: its order. */
  order?: string
  /** Seconds since 1970. */
  exp?: number
  cells?: string[]
}

export interface SessionOptions {
  role: Claims['role']
  /** Where a token is kept: until the tab closes, over a restart of the device, or not at all. */
  keep: 'tab' | 'device' | 'no'
  /** A token that the page's address has beside the fragment. */
  token?: string
  /** What the page follows comes by a WebSocket alone: only orders have streams and polls to fall back on. */
  socketOnly?: boolean
}

/** Why the page must be signed in to, or signed in to again. */
export type SignedOut = 'none' | 'no_token' | 'token_expired' | 'unauthorized' | 'revoked' | 'wrong_role'

/** With the role: a tab may have shown another page before. */
const KEY = 'trunkline.token.'
const EXPIRED = 4202
const REVOKED = 4204

export class Session {
  readonly token: ShallowRef<string | undefined> = shallowRef()
  readonly claims: ShallowRef<Claims | undefined> = shallowRef()
  readonly signedOut: ShallowRef<SignedOut> = shallowRef('none')
  readonly connection: ShallowRef<ClientState> = shallowRef({ name: 'idle' })
  /** What the server says of its screens; `undefined` until it has answered. */
  readonly screens: ShallowRef<Screens | undefined> = shallowRef()
  readonly client: Client
  readonly rest: Rest
  /** Where the server is, with what every request says; for a connection of one's own. */
  readonly url: string
  #options: SessionOptions

  constructor(options: SessionOptions) {
    this.#options = options
    this.#take(fragmentToken() ?? options.token ?? kept(options))
    const url = (this.url = insecureUrl(options.role))
    const token = this.token.value
    this.rest = new Rest({ url, token: async () => this.token.value })
    const transports = options.socketOnly === true ? { transports: ['ws'] as const } : {}
    this.client = new Client({ url, ...transports, ...(token === undefined ? {} : { token }), onState: (state) => this.#connectionIs(state) })
    addEventListener('hashchange', () => {
      const token = fragmentToken()
      if (token !== undefined) this.signIn(token)
    })
  }

  /** Who the page is for. */
  get sub(): string | undefined {
    return this.claims.value?.sub ?? new URLSearchParams(location.search).get('sub') ?? undefined
  }

  /** Asks the server what the page needs to know; tried again until it answers. */
  async begin(): Promise<Screens> {
    for (let wait = 500; ; wait = Math.min(wait * 2, 15_000)) {
      try {
        // Without who one is: nobody need be anybody to ask this.
        return (this.screens.value = await new Rest({ url: location.origin }).screens())
      } catch {
        await new Promise((done) => setTimeout(done, wait))
      }
    }
  }

  /** A newer token, or the first one: what was followed goes on. */
  signIn(token: string): void {
    this.#take(token.trim())
    if (this.signedOut.value === 'wrong_role' || this.token.value === undefined) return
    this.client.authenticate(this.token.value)
  }

  signOut(): void {
    this.#keep(undefined)
    this.token.value = this.claims.value = undefined
    this.signedOut.value = 'no_token'
    this.client.close()
  }

  /** A request was refused for want of a good token. */
  refused(): void {
    if (this.signedOut.value === 'none') this.signedOut.value = this.token.value === undefined ? 'no_token' : 'unauthorized'
  }

  #take(token: string | undefined): void {
    const claims = token === undefined ? undefined : claimsOf(token)
    if (claims && claims.role !== this.#options.role && this.#options.token === undefined) {
      this.signedOut.value = 'wrong_role'
      return
    }
    this.token.value = token
    this.claims.value = claims
    this.signedOut.value = 'none'
    if (token !== this.#options.token) this.#keep(token)
  }

  #keep(token: string | undefined): void {
    const storage = storageOf(this.#options.keep)
    try {
      if (token === undefined) storage?.removeItem(KEY + this.#options.role)
      else storage?.setItem(KEY + this.#options.role, token)
    } catch {
      // Storage may be forbidden or full: the token then lasts as long as the page.
    }
  }

  #connectionIs(state: ClientState): void {
    this.connection.value = state
    if (state.name !== 'stopped' || state.reason === 'closed') return
    if (state.code === EXPIRED) this.signedOut.value = 'token_expired'
    else if (state.code === REVOKED) this.signedOut.value = 'revoked'
    else this.signedOut.value = this.token.value === undefined ? 'no_token' : 'unauthorized'
  }
}

/** What a token says, if it is one. */
export function claimsOf(token: string): Claims | undefined {
  try {
    const bytes = Uint8Array.from(atob((token.split('.')[1] ?? '').replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0))
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === 'object' && claims !== null && 'role' in claims && 'sub' in claims ? (claims as Claims) : undefined
  } catch {
    return undefined
  }
}

/** The fragment's token, which then isn't in the address any more: it shows in no history and no bookmark. */
function fragmentToken(): string | undefined {
  const fragment = new URLSearchParams(location.hash.slice(1))
  const token = fragment.get('token')
  if (token === null) return undefined
  fragment.delete('token')
  const rest = fragment.toString()
  history.replaceState(history.state, '', location.pathname + location.search + (rest ? '#' + rest : ''))
  return token
}

function storageOf(keep: SessionOptions['keep']): Storage | undefined {
  try {
    return keep === 'no' ? undefined : keep === 'tab' ? sessionStorage : localStorage
  } catch {
    return undefined
  }
}

function kept({ keep, role }: SessionOptions): string | undefined {
  try {
    return storageOf(keep)?.getItem(KEY + role) ?? undefined
  } catch {
    return undefined
  }
}

/** Under `serve --insecure` the address says who one is (`?sub=…`): passed on, beside the page's role. With tokens the server
 * doesn't look at it. */
function insecureUrl(role: Claims['role']): string {
  const url = new URL(location.origin)
  const sub = new URLSearchParams(location.search).get('sub')
  if (sub !== null) {
    url.searchParams.set('role', role)
    url.searchParams.set('sub', sub)
  }
  return url.href
}
