// Draws the curves of a report with Plotly, again whenever the reader asks for another axis, scale or set of runs, or
// the system turns dark. All that it draws stands in the page; it asks nobody for anything.
"use strict";

(function () {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const fine = window.matchMedia("(pointer: fine)");
  const axes = { step: "step", tokens: "tokens", seconds: "working time, minutes" };
  // Colour is never alone: runs differ in their dashes too.
  const dashes = ["solid", "dash", "dot", "dashdot"];

  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
  const shown = (run) => {
    const box = document.getElementById(`run-${run}`);
    return box === null || box.checked;
  };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const runColour = (run) => colour(`--run-${run % 8}`);
  const runDash = (run) => dashes[(run + Math.floor(run / 8)) % dashes.length];

  function places(points, axis) {
    return axis === "seconds" ? points.seconds.map((one) => one / 60) : points[axis];
  }

  function traces(curve, axis) {
    const drawn = [];
    for (const points of curve.points) {
      if (!shown(points.run)) continue;
      const x = places(points, axis);
      const line = { color: runColour(points.run), width: 2, dash: runDash(points.run) };
      const mode = curve.sparse || x.length === 1 ? "lines+markers" : "lines";
      const name = data.runs[points.run].id;
      drawn.push({ x, y: points.value, name, mode, line, marker: { size: 6, color: line.color }, type: "scatter" });
      if (points.best !== null) {
        const marker = { symbol: "star", size: 13, color: line.color };
        const best = { x: [x[points.best]], y: [points.value[points.best]], name: `${name}, best` };
        drawn.push({ ...best, mode: "markers", marker, type: "scatter" });
      }
    }
    return drawn;
  }

  // A line where an attempt took up the work, dotted where steps had been lost.
  function resumes(axis) {
    const shapes = [];
    const annotations = [];
    for (const mark of data.marks) {
      if (!shown(mark.run)) continue;
      const x = axis === "seconds" ? mark.seconds / 60 : mark[axis];
      if (x === null) continue; // a run whose records count no tokens
      const line = { color: runColour(mark.run), width: 1.5, dash: mark.taken_back ? "dot" : "solid" };
      shapes.push({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", layer: "below", line });
      const label = { x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, textangle: 0 };
      annotations.push({ ...label, text: String(mark.attempt), font: { size: 11, color: line.color } });
    }
    return { shapes, annotations };
  }

  function layout(curve, axis) {
    const ink = colour("--ink");
    const grid = { gridcolor: colour("--grid"), linecolor: colour("--grid"), zeroline: false, automargin: true };
    const type = document.getElementById("log-scale").checked ? "log" : "linear";
    const ticks = { exponentformat: "e", minexponent: 4, separatethousands: true };
    const fixed = !fine.matches; // a finger scrolls the page
    return {
      ...resumes(axis),
      autosize: true,
      height: 300,
      margin: { l: 8, r: 8, t: 22, b: 8 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 13, color: ink },
      showlegend: false,
      hovermode: "x unified",
      hoverlabel: { bgcolor: colour("--panel"), bordercolor: colour("--grid"), font: { color: ink } },
      dragmode: fixed ? false : "zoom",
      xaxis: { ...grid, title: { text: axes[axis] }, fixedrange: fixed, rangemode: "tozero", ...ticks },
      yaxis: { ...grid, title: { text: curve.unit }, fixedrange: fixed, type, ...ticks },
    };
  }

  function draw() {
    const axis = chosen("axis");
    for (const curve of data.curves) {
      const place = document.getElementById(`plot-${curve.id}`);
      const options = { displayModeBar: false, responsive: true, scrollZoom: false };
      Plotly.react(place, traces(curve, axis), layout(curve, axis), options);
    }
  }

  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 7 });

  // The values of a curve as a table, built when it is opened: a long run has thousands of rows.
  function fill(details, curve) {
    const body = details.querySelector("tbody");
    if (body.rows.length > 0) return;
    for (const points of curve.points) {
      points.step.forEach((step, place) => {
        const row = body.insertRow();
        const value = points.value[place];
        const cells = [
          digits.format(step),
          points.tokens[place] === null ? "unknown" : digits.format(points.tokens[place]),
          digits.format(points.seconds[place]),
          value === null ? "not a number" : digits.format(value),
        ];
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = data.runs[points.run].id;
        row.append(head);
        for (const text of cells) row.insertCell().textContent = text;
      });
    }
  }

  for (const curve of data.curves) {
    const details = document.getElementById(`values-${curve.id}`);
    details.addEventListener("toggle", () => fill(details, curve));
  }
  for (const input of document.querySelectorAll(".controls input")) input.addEventListener("change", draw);
  dark.addEventListener("change", draw);
  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.configuration")) details.open = true;
  });
  draw();
  document.documentElement.dataset.drawn = "yes";
})();
