import { expect, test } from 'vitest'
import { EventStream } from '../src/sse.js'

const TEXT = ': hi\nretry: 2500\n\nid: 1.2\r\nevent: delta\r\ndata: {"a":1}\r\n\r\ndata: x\rdata:y\r\rdata\n\nevent: nothing\n\ndata: é€\n\ndata: half'

test('events come out whole wherever the text is cut', () => {
  for (let cut = 1; cut <= TEXT.length; cut++) {
    const stream = new EventStream()
    const events: string[] = []
    for (let at = 0; at < TEXT.length; at += cut) events.push(...stream.push(TEXT.slice(at, at + cut)))
    expect(events).toEqual(['{"a":1}', 'x\ny', '', 'é€'])
    expect(stream.retryMs).toBe(2_500)
    expect(stream.pending).toBe('data: half'.length)
  }
})
