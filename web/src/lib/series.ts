// The points of one signal in view and where it is expected next, as the columns uPlot draws.
//
// Invariant: times rise strictly and there are at most `max` of them.
import type { Forecast, Point } from "./types";

export const POINTS_MAX = 2000;

type Column = (number | null)[];

export type Columns = [number[], Column, Column, Column, Column, Column, Column, Column, Column];

export class Series {
  points: Point[] = [];
  /** What is to come; what is no longer ahead is left out of the columns. */
  forecast: readonly Forecast[] = [];
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

  /** What is ahead of the last point. */
  ahead(): readonly Forecast[] {
    const last = this.points[this.points.length - 1];
    return last ? this.forecast.filter((one) => Date.parse(one.time) > Date.parse(last.time)) : [];
  }

  /** Seconds from the first point to the last. */
  span(): number {
    const [first, last] = [this.points[0], this.points[this.points.length - 1]];
    return first && last ? (Date.parse(last.time) - Date.parse(first.time)) / 1000 : 0;
  }

  /**
   * Time in seconds, value, low, expected, high, and the value again where it is an anomaly; then low, expected and high
   * of what is ahead, which begins at the last value.
   */
  columns(): Columns {
    const columns: Columns = [[], [], [], [], [], [], [], [], []];
    for (const point of this.points) {
      columns[0].push(Date.parse(point.time) / 1000);
      columns[1].push(point.value);
      columns[2].push(point.low);
      columns[3].push(point.expected);
      columns[4].push(point.high);
      columns[5].push(point.anomaly ? point.value : null);
      for (const column of columns.slice(6) as Column[]) column.push(null);
    }
    const ahead = this.ahead();
    if (ahead.length) for (const column of columns.slice(6) as Column[]) column[column.length - 1] = this.points[this.points.length - 1]!.value;
    for (const one of ahead) {
      columns[0].push(Date.parse(one.time) / 1000);
      for (const column of columns.slice(1, 6) as Column[]) column.push(null);
      columns[6].push(one.low);
      columns[7].push(one.expected);
      columns[8].push(one.high);
    }
    return columns;
  }
}
