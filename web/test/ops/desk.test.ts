import type { TrackRow } from '@trunkline/client/rest'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { OrderRecord } from '@/ops/order/record.js'
import { Desk } from '@/ops/shell/desk.js'
import type { Session } from '@/shared/session.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

type Listeners = { onState: (state: unknown, info: { atMs: number }) => void }

/** A session whose server says what a test has it say. */
function session(rest: object = {}): { session: Session; topics: Map<string, Listeners> } {
  const topics = new Map<string, Listeners>()
  const follow = (topic: string, listeners: Listeners): object => (topics.set(topic, listeners), { unfollow: () => topics.delete(topic) })
  const client = { follow, order: (id: string, listeners: Listeners) => follow(`order.${id}`, listeners), close: () => undefined }
  return { session: { client, rest: { figures: async () => ({}), ...rest }, signedOut: { value: 'none' }, refused: () => undefined } as unknown as Session, topics }
}

test('the cell’s clock is taken over though this machine’s is ahead, and set back by no topic that lags', () => {
  const { session: one, topics } = session()
  const desk = new Desk(one)
  desk.start()
  const say = (atMs: number): void => topics.get('alerts')!.onState({ alerts: {} }, { atMs })
  const first = Date.now() - 3_600_000
  say(first)
  expect(desk.lastMs()).toBe(first)
  vi.advanceTimersByTime(2_000)
  expect(desk.now()).toBeCloseTo(first + 2_000, -1)
  say(first - 60_000)
  expect(desk.lastMs(), 'what lags').toBe(first)
  say(first + 3_000_000)
  expect(desk.lastMs()).toBe(first + 3_000_000)
  desk.stop()
})

test('a history is asked for up to so many lines, and not again then', async () => {
  const asked: (number | undefined)[] = []
  const track = async (_: string, { after }: { after?: number }): Promise<{ rows: TrackRow[]; next?: number }> => {
    asked.push(after)
    const from = after ?? 0
    return { rows: Array.from({ length: 7_000 }, (_, n) => ({ id: from + n + 1 }) as TrackRow), next: from + 7_000 }
  }
  const { session: one, topics } = session({ track })
  const record = new OrderRecord(new Desk(one), 'o')
  const change = async (): Promise<void> => {
    topics.get('order.o')!.onState({ id: 'o' }, { atMs: 0 })
    await vi.advanceTimersByTimeAsync(5_000)
  }
  await change()
  expect(asked).toEqual([undefined, 7_000, 14_000])
  expect([record.rows.value.length, record.rows.value.at(-1)?.id]).toEqual([20_000, 20_000])
  await change()
  expect(asked).toHaveLength(3)
  record.close()
})
