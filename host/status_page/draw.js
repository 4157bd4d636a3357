// SPDX-License-Identifier: Apache-2.0
//
// Drawings: how latencies are spread, and how a rate went.

// Latencies on a logarithmic axis, counts upwards; a line at each quantile. With `labels`, the axis
// has times.
function drawLatencies(latencies, {width, height, bars, labels}) {
  const text = latencies.count === 0 ? "no calls yet" : quantilesText(latencies);
  const foot = labels ? 18 : 0;
  const svg = drawing("svg", {
    class: labels ? "latencies large" : "latencies", role: "img", "aria-label": text,
    viewBox: `0 0 ${width} ${height + foot}`, preserveAspectRatio: labels ? "xMinYMid" : "none",
    width: width, height: height + foot,
  });
  if (latencies.count === 0) return svg;

  const [low, high] = axisOf(latencies);
  const place = (ns) => (Math.log(ns) - Math.log(low)) / (Math.log(high) - Math.log(low));
  const counts = new Array(bars).fill(0);
  for (const [upperNs, count] of latencies.buckets) {
    counts[Math.min(bars - 1, Math.floor(place(Math.max(low, upperNs)) * bars))] += count;
  }
  const most = Math.max(...counts);
  const step = width / bars;
  counts.forEach((count, i) => {
    if (count === 0) return;
    // The rarest call can be seen too.
    const tall = Math.max(1.5, count / most * (height - 1));
    svg.append(drawing("rect", {
      x: i * step, y: height - tall, width: Math.max(step - 1, 0.5), height: tall, class: "bar",
    }));
  });
  svg.append(drawing("line", {x1: 0, x2: width, y1: height, y2: height, class: "axis"}));
  if (labels) labelAxis(svg, latencies, {width, height, place, low, high});
  return svg;
}

// Whole decades are too wide for a narrow spread: the ends are a little outside of it.
function axisOf(latencies) {
  const low = Math.max(1, latencies.buckets[0][0] * 0.8);
  const high = latencies.buckets.at(-1)[0] * 1.1;
  return [low, Math.max(high, low * 2)];
}

function labelAxis(svg, latencies, {width, height, place, low, high}) {
  const ticks = [];
  for (let decade = 10 ** Math.floor(Math.log10(low)); decade <= high; decade *= 10) {
    for (const part of [1, 2, 5]) ticks.push(decade * part);
  }
  let last = -Infinity;
  for (const ns of ticks.filter((ns) => ns >= low && ns <= high)) {
    const x = place(ns) * width;
    if (x - last < 48 || x > width - 24 || x < 24) continue;
    last = x;
    svg.append(drawing("line", {x1: x, x2: x, y1: height, y2: height + 4, class: "axis"}),
               drawing("text", {x: x, y: height + 15, class: "tick"},
                       timeText(ns).replace(/\.0+(?!\d)/, "")));
  }
  for (const [part, name] of QUANTILES) {
    const x = Math.min(width - 1, place(latencies.quantile(part)) * width);
    svg.append(drawing("line", {x1: x, x2: x, y1: 0, y2: height, class: `quantile ${name}`},
                       drawing("title", {}, `${name}: ${timeText(latencies.quantile(part))}`)));
  }
}

const QUANTILES = [[0.5, "p50"], [0.99, "p99"], [0.999, "p999"]];

function quantilesText(latencies) {
  const [half, p99, p999] = QUANTILES.map(([part]) => timeText(latencies.quantile(part)));
  return `half of the calls took at most ${half}, 99 % ${p99}, 99.9 % ${p999}`;
}

// `values`: the last minute, a value a second, oldest first.
function drawCourse(values, name) {
  const [width, height] = [160, 36];
  const most = Math.max(...values, 0);
  const svg = drawing("svg", {
    class: "course", role: "img", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none",
    "aria-label": `${name} of the last minute: at most ${rateText(most)} a second`,
  });
  if (values.length < 2) return svg;
  const x = (i) => width - (values.length - 1 - i) * (width / 60);
  const y = (value) => height - 1 - (most === 0 ? 0 : value / most * (height - 3));
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  svg.append(
      drawing("polygon", {
        points: `${x(0).toFixed(1)},${height} ${points} ${width},${height}`, class: "area",
      }),
      drawing("polyline", {points: points, class: "line"}));
  return svg;
}
