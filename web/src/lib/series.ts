// The points of one signal in view, as the columns uPlot draws.
//
// Invariant: times rise strictly and there are at most `max` of them.
import type { Point } from "./types";

export const POINTS_MAX = 2000;

export type Columns = [number[], (number | null)[], (number | null)[], (number | null)[], (number | null)[], (number | null)[]];

export class Series {
  points: Point[] = [];
  readonly max: number;

  constructor(max = POINTS_MAX) {
    this.max = max;
  }

  /** Adds points in any order; a point at a time already held replaces it. */
  merge(incoming: readonly Point[]): void {
    let tail = this.points.length ? Date.parse(this.points[this.points.length - 1]!.time) : -Infinity;
    const late: Point[] = [];
    for (const point of incoming) {
      const at = Date.parse(point.time);
      if (!Number.isFinite(at)) continue;
      if (at > tail) {
        this.points.push(point);
        tail = at;
      } else late.push(point);
    }
    if (late.length) {
      const byTime = new Map<number, Point>();
      for (const point of this.points) byTime.set(Date.parse(point.time), point);
      for (const point of late) byTime.set(Date.parse(point.time), point);
      this.points = [...byTime.entries()].sort((a, b) => a[0] - b[0]).map(([, point]) => point);
    }
    if (this.points.length > this.max) this.points.splice(0, this.points.length - this.max);
  }

  /** Time in seconds, value, low, expected, high, and the value again where it is an anomaly. */
  columns(): Columns {
    const columns: Columns = [[], [], [], [], [], []];
    for (const point of this.points) {
      columns[0].push(Date.parse(point.time) / 1000);
      columns[1].push(point.value);
      columns[2].push(point.low);
      columns[3].push(point.expected);
      columns[4].push(point.high);
      columns[5].push(point.anomaly ? point.value : null);
    }
    return columns;
  }
}
