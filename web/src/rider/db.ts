/**
 * What the rider's phone keeps, so that nothing is lost with the network, the page or the battery: positions, reports and the
 * last known stops. Everything is kept by rider: what one rider left unsent is never sent as another.
 */

import type { Fix } from '@trunkline/client/rest'
import type { Json, Problem } from '@trunkline/client'
import { openDB } from 'idb'
import type { DBSchema, IDBPDatabase } from 'idb'
import type { Board } from './stops.js'

/** A position that waits; its key is the rider and the sequence number. */
export interface StoredFix {
  rider: string
  seq: number
  fix: Fix
}

export type ReportKind = 'shift' | 'delivered' | 'failed' | 'returned'

/** A report that waits, or that was refused. */
export interface Report {
  id?: number
  rider: string
  kind: ReportKind
  order?: string
  /** As the route takes it, without the times. */
  body: { [field: string]: Json }
  /** The idempotency key: the report is the same one however often it is sent. */
  key: string
  /** When it happened, by the device's clock. */
  at_ms: number
  /** Why the server doesn't take it. */
  refused?: Problem
}

/** A position that the server refuses. */
export interface AsideFix {
  rider: string
  fix: Fix
  reason: string
}

/** What is counted of a rider's positions. */
export interface FixFigures {
  /** When the server last acknowledged some, by the device's clock. */
  acked_at_ms?: number
  acked: number
  /** Left out because the store was full. */
  thinned: number
  /** Acknowledged, but of no use: too old, or from the future. */
  useless: number
  /** The last one that was kept. */
  last?: Fix
}

export interface RiderSchema extends DBSchema {
  fixes: { key: [string, number]; value: StoredFix }
  outbox: { key: number; value: Report }
  aside: { key: number; value: AsideFix }
  board: { key: string; value: { rider: string; board: Board; at_ms: number } }
  /** `seq`: the last sequence number of this device. */
  counters: { key: string; value: number }
  figures: { key: string; value: FixFigures }
}

export type RiderDb = IDBPDatabase<RiderSchema>

const NAME = 'trunkline.rider'

/** `reload`: what a page does whose store is gone; whatever it went on to note would be kept nowhere. */
export function openRiderDb(name: string = NAME, reload: () => void = () => location.reload()): Promise<RiderDb> {
  return openDB<RiderSchema>(name, 1, {
    upgrade(db) {
      db.createObjectStore('fixes', { keyPath: ['rider', 'seq'] })
      db.createObjectStore('outbox', { keyPath: 'id', autoIncrement: true })
      db.createObjectStore('aside', { autoIncrement: true })
      db.createObjectStore('board', { keyPath: 'rider' })
      db.createObjectStore('counters')
      db.createObjectStore('figures')
    },
    // A newer page wants another shape: it doesn't wait for this one.
    blocking(_old, _new, event) {
      ;(event.target as IDBDatabase).close()
      reload()
    },
    // The browser has closed it: data were cleared, or its storage failed.
    terminated: reload,
  })
}

/** All of a rider's positions. */
export const ofRider = (rider: string): IDBKeyRange => IDBKeyRange.bound([rider], [rider, []])

/** Removes all that is kept of a rider; at signing out, whether it was sent or not. */
export async function forgetRider(db: RiderDb, rider: string): Promise<void> {
  const tx = db.transaction(['fixes', 'outbox', 'aside', 'board', 'figures'], 'readwrite')
  void tx.objectStore('fixes').delete(ofRider(rider))
  void tx.objectStore('board').delete(rider)
  void tx.objectStore('figures').delete(rider)
  for (const name of ['outbox', 'aside'] as const) {
    const store = tx.objectStore(name)
    for (let at = await store.openCursor(); at; at = await at.continue()) if (at.value.rider === rider) await at.delete()
  }
  await tx.done
}

/** The stops of riders other than this one, and of another day, are nobody's business any more. */
export async function forgetBoards(db: RiderDb, rider: string, before_ms: number): Promise<void> {
  const tx = db.transaction('board', 'readwrite')
  for (let at = await tx.store.openCursor(); at; at = await at.continue()) {
    if (at.value.rider !== rider || at.value.at_ms < before_ms) await at.delete()
  }
  await tx.done
}

/** How much of other riders waits on this device. */
export async function ofOthers(db: RiderDb, rider: string): Promise<number> {
  const tx = db.transaction(['fixes', 'outbox'])
  const fixes = (await tx.objectStore('fixes').count()) - (await tx.objectStore('fixes').count(ofRider(rider)))
  const reports = (await tx.objectStore('outbox').getAll()).filter((report) => report.rider !== rider)
  return fixes + reports.length
}
