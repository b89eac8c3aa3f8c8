// The map: where models lie, coloured, searched, and through training.
(() => {
  "use strict";
  const { data, get, css, safe, short, whole, kl, config, axes, paper } = page;
  if (!data.maps.length) return;
  const mostNames = 25;
  const colorings = {
    run: { name: "training run", kind: "category" },
    model: { name: "model", kind: "category" },
    type: { name: "type", kind: "category" },
    step: { name: "training step", kind: "log" },
    size: { name: "parameters", kind: "log" },
    loss: { name: "bits per byte of the texts", kind: "plain" },
    layer: { name: "layer", kind: "plain" },
  };
  const menus = ["which", "method", "color"].map((name) => get(`map-${name}`));
  const [which, method, color] = menus;
  const search = get("map-search");
  const slider = get("map-step");
  const play = get("map-play");
  const plot = get("map-plot");

  const fill = (menu, options) => {
    const before = menu.value;
    menu.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === before)) menu.value = before;
  };
  const name = (one, key) => key === "step" && one.unit === "token" ? "training tokens"
    : colorings[key].name;
  const map = () => data.maps[which.value];
  const steps = (one) => [...new Set(one.step.filter((step) => step !== null))].sort((a, b) => a - b);

  function choose() {
    const one = map();
    fill(method, one.embeddings.map((found, i) => [String(i), found.title]));
    fill(color, Object.keys(colorings).filter((key) => one[key] &&
      new Set(one[key].filter((value) => value !== null)).size > 1)
      .map((key) => [key, name(one, key)]));
    get("map-names").replaceChildren(...one.labels.slice(0, 3000).map((label) => {
      const option = document.createElement("option");
      option.value = label;
      return option;
    }));
    const moments = one.paths.length ? steps(one) : [];
    get("map-time").hidden = moments.length < 2;
    slider.max = Math.max(moments.length - 1, 0);
    slider.value = slider.max;
    get("map-said").textContent = one.said;
  }

  const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
  const mixed = (color, other, share) => share === 1 ? color : `#${rgb(color).map((value, i) =>
    Math.round(share * value + (1 - share) * rgb(other)[i]).toString(16).padStart(2, "0")).join("")}`;

  function shades(one, key) {
    const values = key ? one[key] : one.labels.map(() => null);
    if (!key || colorings[key].kind === "category") {
      // A type has one colour on all maps; models have theirs in the order of the figures.
      const seen = new Set(values.filter(Boolean));
      const first = [css("--blue"), ...data.palette.slice(1, -1), css("--sixth")];
      // Runs have more colours, then the same ones lighter, so that seeds are told apart.
      const palette = key === "run" ? [1, 0.5].flatMap((share) => [...first, ...data.further]
        .map((shade) => mixed(shade, css("--paper"), share))) : first;
      const named = (key === "type" ? data.types : [...seen]).slice(0, palette.length);
      const of = (value) => named.includes(value) ? palette[named.indexOf(value)] : css("--faint");
      const keys = named.filter((value) => seen.has(value)).map((value) => [of(value), value]);
      if (keys.length && values.some((value) => !named.includes(value))) {
        keys.push([css("--faint"), "other"]);
      }
      return { marker: { color: values.map(of) }, keys };
    }
    const log = colorings[key].kind === "log";
    const to = (value) => value === null ? null : log ? Math.log10(1 + value) : value;
    const from = (value) => log ? Math.pow(10, value) - 1 : value;
    const shown = values.map(to);
    const finite = shown.filter((value) => value !== null);
    const low = finite.reduce((a, b) => Math.min(a, b));
    const high = finite.reduce((a, b) => Math.max(a, b));
    const ticks = [0, 1, 2, 3, 4].map((i) => low + (high - low) * i / 4);
    return { keys: [], marker: { color: shown, colorscale: "Viridis", cmin: low, cmax: high,
      showscale: true, colorbar: { title: { text: name(one, key), side: "top" },
        orientation: "h", y: 1.02, yanchor: "bottom", thickness: 10, len: 0.9, outlinewidth: 0,
        tickvals: ticks, ticktext: ticks.map((tick) => key === "loss" ? from(tick).toPrecision(3)
          : short(Math.round(from(tick)))) } } };
  }

  const hover = (one, k) => [`<b>${safe(one.labels[k])}</b>`,
    one.type && one.type[k] ? `type ${safe(one.type[k])}` : "",
    one.size && one.size[k] ? `${whole(one.size[k])} parameters` : "",
    one.loss[k] !== null ? `${one.loss[k].toFixed(3)} bits per byte of the texts` : "",
    one.nearest[k] !== null ? `nearest: ${safe(one.labels[one.nearest[k]])}` : "",
    one.nearest[k] !== null ? `KL to it: ${kl(one.nearest_kl[k])}` : "",
  ].filter(Boolean).join("<br>");

  // The ranges that hold all points, with one scale for both axes.
  function around(x, y, width, height) {
    const ends = [x, y].map((values) => values.reduce(([low, high], value) =>
      [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]));
    const unit = 1.16 * Math.max((ends[0][1] - ends[0][0]) / width,
      (ends[1][1] - ends[1][0]) / height) || 1 / width;
    return ends.map(([low, high], i) => [(low + high - unit * [width, height][i]) / 2,
      (low + high + unit * [width, height][i]) / 2]);
  }

  let timer = null;
  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ play";
  }
  function start() {
    if (Number(slider.value) >= Number(slider.max)) slider.value = 0;
    play.textContent = "❚❚ pause";
    draw();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      draw();
      if (Number(slider.value) >= Number(slider.max)) stop();
    }, Math.max(80, Math.min(600, 8000 / (Number(slider.max) + 1))));
  }

  function found(one) {
    const asked = search.value.trim().toLowerCase();
    if (!asked) return [];
    const exact = one.labels.findIndex((label) => label.toLowerCase() === asked);
    if (exact >= 0) return [exact];
    return one.labels.flatMap((label, k) => label.toLowerCase().includes(asked) ? [k] : []);
  }

  function draw() {
    const one = map();
    const { x, y, axis_x: axisX, axis_y: axisY } = one.embeddings[method.value];
    const margin = { l: 52, r: 12, b: 46 };
    const moments = one.paths.length ? steps(one) : [];
    const now = moments.length ? moments[slider.value] : Infinity;
    const late = (k) => one.step[k] !== null && one.step[k] > now;
    const { marker, keys } = shades(one, color.value);
    const at = (values) => values.map((value, k) => late(k) ? null : value);
    const lines = { x: [], y: [] };
    one.pairs.forEach(([a, b]) => {
      if (late(a) || late(b)) return;
      lines.x.push(x[a], x[b], null);
      lines.y.push(y[a], y[b], null);
    });
    const heads = one.paths.map((rows) => rows.filter((k) => !late(k)).pop())
      .filter((k) => k !== undefined);
    const rings = found(one);
    const dense = one.labels.length > 600;
    margin.t = marker.showscale ? 64 : 12;
    const width = plot.clientWidth - margin.l - margin.r;
    const height = plot.clientHeight - margin.t - margin.b;
    const ranges = around(x, y, width, height);
    const shown = one.paths.length ? heads : one.labels.map((_, k) => k);
    const names = shown.length > mostNames ? [] : page.placeNames({ x: shown.map((k) => x[k]),
      y: shown.map((k) => y[k]), labels: shown.map((k) => one.run ? one.run[k] : one.labels[k]),
      ranges, width, height,
      others: dense ? [] : one.labels.flatMap((_, k) => shown.includes(k) ? [] : [[x[k], y[k]]]) });
    const ofHeads = Array.isArray(marker.color) ? { ...marker, showscale: false,
      color: heads.map((k) => marker.color[k]) } : marker;
    const traces = [
      { ...lines, mode: "lines", hoverinfo: "skip", line: { color: css("--faint"), width: 1 },
        opacity: 0.7 },
      { x: at(x), y: at(y), mode: "markers", text: one.labels.map((_, k) => hover(one, k)),
        hovertemplate: "%{text}<extra></extra>",
        marker: { size: dense ? 5 : 8, line: { color: css("--paper"), width: dense ? 0 : 0.7 },
          ...marker } },
      { x: heads.map((k) => x[k]), y: heads.map((k) => y[k]), mode: "markers", hoverinfo: "skip",
        marker: { ...ofHeads, size: 12, line: { color: css("--paper"), width: 1.5 } } },
      { x: rings.map((k) => x[k]), y: rings.map((k) => y[k]), mode: "markers", hoverinfo: "skip",
        marker: { size: 17, symbol: "circle-open", color: css("--bad"), line: { width: 2.5 } } },
      { x: shown.map((k) => x[k]), y: shown.map((k) => y[k]), mode: "markers+text", hoverinfo: "skip",
        marker: { size: 16, color: "rgba(0,0,0,0)" },
        text: names.map(([label]) => safe(label)), textposition: names.map(([, place]) => place),
        textfont: { size: 12, color: css("--soft") } },
    ];
    const same = { scaleanchor: "x", scaleratio: 1 };
    Plotly.react(plot, traces, { ...paper(), showlegend: false, dragmode: "pan",
      margin, hovermode: "closest",
      uirevision: `${which.value} ${method.value}`,
      // The same for all moments: what moves is the models, not the axes.
      xaxis: { ...axes(), title: { text: axisX }, range: ranges[0] },
      yaxis: { ...axes(), title: { text: axisY }, range: ranges[1], ...same } }, config);
    get("map-keys").replaceChildren(...keys.map(([shade, text]) => {
      const item = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = shade;
      item.append(dot, text);
      return item;
    }));
    get("map-now").textContent = moments.length
      ? `up to ${one.unit === "token" ? `${short(now)} tokens` : `step ${now.toLocaleString("en")}`}` : "";
    const told = get("map-found");
    if (!search.value.trim()) told.textContent = "";
    else if (!rings.length) told.textContent = "No model of that name on this map.";
    else if (rings.length > 1) told.textContent = `${rings.length} models, ringed.`;
    else {
      const k = rings[0];
      told.textContent = one.labels[k] + (one.nearest[k] === null ? ""
        : `, nearest: ${one.labels[one.nearest[k]]}, KL ${kl(one.nearest_kl[k])}`);
    }
  }

  fill(which, data.maps.map((one, i) => [String(i), one.title]));
  which.addEventListener("change", () => { stop(); choose(); draw(); });
  [method, color].forEach((menu) => menu.addEventListener("change", draw));
  search.addEventListener("input", draw);
  slider.addEventListener("input", () => { stop(); draw(); });
  play.addEventListener("click", () => timer === null ? start() : stop());
  page.gestures(plot);
  choose();
  page.draws.push(draw);
})();
