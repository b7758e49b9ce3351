/** What a frame says to the topics that its link carries, and what time does to them. Sans-IO. */

import type { Heartbeat, Json, ServerFrame } from './frames.js'
import type { Freshness, Outcome, Topic } from './topic.js'

/** Tells a frame to those of the topics that it is about, and what came of it, with the state before. */
export function tell(frame: ServerFrame, topics: readonly Topic[], now: number, told: (topic: Topic, outcome: Outcome, before: Json | undefined) => void): void {
  const said = frame.type === 'heartbeat' && heard(frame)
  for (const topic of topics) {
    const before = topic.state
    if (said) told(topic, topic.onHeartbeat(said.get(topic.name), now), before)
    else if (!('topic' in frame) || frame.topic !== topic.name) continue
    else if (frame.type === 'subscribed') topic.onSubscribed(frame, now)
    else if (frame.type === 'snapshot') told(topic, topic.onSnapshot(frame, now), before)
    else if (frame.type === 'delta') told(topic, topic.onDelta(frame, now), before)
  }
}

/** By topic, the version that a heartbeat names, or that its owner is silent. */
function heard(frame: Heartbeat): Map<string, number | 'unconfirmed'> {
  const said = new Map<string, number | 'unconfirmed'>()
  for (const [id, version] of Object.entries(frame.orders)) said.set('order/' + id, version)
  for (const id of frame.unconfirmed ?? []) said.set('order/' + id, 'unconfirmed')
  for (const [name, version] of Object.entries(frame.topics ?? {})) said.set(name, version)
  for (const name of frame.unconfirmed_topics ?? []) said.set(name, 'unconfirmed')
  return said
}

/** When a topic will be found silent, if nothing is heard. */
export function silentAt({ told, heardAt }: Topic, silence: number): number | undefined {
  return told === 'confirmed' || told === 'unconfirmed' ? heardAt + silence : undefined
}

/** How far what is shown can be believed, where that isn't what listeners were last told. */
export function tellFreshness(topics: Iterable<Topic>, now: number, silence: number, tell: (topic: string, freshness: Freshness) => void): void {
  for (const topic of topics) {
    const freshness = topic.freshness(now, silence)
    if (freshness !== topic.told) tell(topic.name, (topic.told = freshness))
  }
}
