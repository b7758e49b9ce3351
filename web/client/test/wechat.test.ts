/** The adapter over a mini-program's `wx`, as its documentation has it: failures come by several ways. */

import { expect, test } from 'vitest'
import { Client } from '../src/client.js'
import type { ClientState } from '../src/events.js'
import { wechatSocket } from '../src/wechat.js'
import type { Wx, WxSocketTask } from '../src/wechat.js'
import { FakeClock } from './clock.js'

class Task implements WxSocketTask {
  sent: string[] = []
  closed: { code?: number; reason?: string }[] = []
  failSends = false
  on: { [name: string]: (what: never) => void } = {}
  send({ data, fail }: Parameters<WxSocketTask['send']>[0]): void {
    if (this.failSends) fail?.({ errMsg: 'sendSocketMessage:fail' })
    else this.sent.push(data)
  }
  close(options: { code?: number; reason?: string }): void {
    this.closed.push(options)
  }
  onOpen = (listener: () => void): void => void (this.on['open'] = listener)
  onMessage = (listener: (message: { data: string }) => void): void => void (this.on['message'] = listener as never)
  onClose = (listener: (end: { code: number; reason: string }) => void): void => void (this.on['close'] = listener as never)
  onError = (listener: (error: { errMsg: string }) => void): void => void (this.on['error'] = listener as never)
  say(name: string, what?: unknown): void {
    this.on[name]?.(what as never)
  }
}

function open(): { client: Client; tasks: Task[]; clock: FakeClock; urls: string[]; fails: ((error: { errMsg: string }) => void)[] } {
  const tasks: Task[] = []
  const urls: string[] = []
  const fails: ((error: { errMsg: string }) => void)[] = []
  const wx: Wx = {
    connectSocket: ({ url, fail }) => {
      const task = new Task()
      tasks.push(task)
      urls.push(url)
      if (fail) fails.push(fail)
      return task
    },
  }
  const clock = new FakeClock()
  const client = new Client({ url: 'https://example.org', token: 't', transports: ['ws'], socket: wechatSocket(wx), datum: 'gcj02', clock, random: () => 0.5 })
  return { client, tasks, clock, urls, fails }
}

test('an order is followed over wx.connectSocket', () => {
  const { client, tasks, urls } = open()
  const order = client.order('a')
  expect(urls).toEqual(['wss://example.org/v1/ws?datum=gcj02'])
  const [task] = tasks as [Task]
  task.say('open')
  task.say('message', { data: '{"type":"hello","session":"s","view":"customer","heartbeat_ms":10000}' })
  expect(task.sent.map((text) => JSON.parse(text))).toEqual([
    { type: 'authenticate', token: 't' },
    { type: 'subscribe', topic: 'order/a' },
  ])
  task.say('message', { data: '{"type":"subscribed","topic":"order/a","recovery":"fresh"}' })
  task.say('message', { data: '{"type":"snapshot","topic":"order/a","epoch":1,"version":1,"at_ms":1,"state":{"status":1}}' })
  expect(order.state?.status).toBe(1)
  client.close()
  expect(task.closed).toEqual([{ code: 1000, reason: '', fail: expect.any(Function) }])
})

test('a failure that is told three times is one', () => {
  const { client, tasks, clock, fails } = open()
  client.order('a')
  fails[0]?.({ errMsg: 'connectSocket:fail' })
  tasks[0]?.say('error', { errMsg: 'fail' })
  tasks[0]?.say('close', { code: 1006, reason: '' })
  const state = client.state as Extract<ClientState, { name: 'reconnecting' }>
  expect(state).toMatchObject({ name: 'reconnecting', attempt: 1 })
  clock.run(state.retryAt - clock.now())
  expect(tasks).toHaveLength(2)
})

test('a send that fails ends the connection', () => {
  const { client, tasks } = open()
  client.order('a')
  const [task] = tasks as [Task]
  task.failSends = true
  task.say('open')
  expect(client.state.name).toBe('reconnecting')
})
