// The interactive part of the page. `#map-data` holds what is drawn; nothing is fetched.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("map-data").textContent);
  const get = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly reads a little HTML in texts; a model's name is never markup.
  const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const config = { displaylogo: false, responsive: true, scrollZoom: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]] };
  const short = (value) => value >= 1e9 ? `${+(value / 1e9).toPrecision(3)}B`
    : value >= 1e6 ? `${+(value / 1e6).toPrecision(3)}M`
      : Math.abs(value) >= 1 ? `${+value.toPrecision(4)}` : `${+value.toPrecision(3)}`;
  const kl = (value) => `${value.toPrecision(3)} bits per byte`;
  const axes = () => ({ gridcolor: css("--line"), zerolinecolor: css("--line"),
    linecolor: css("--faint"), tickfont: { color: css("--soft") } });
  const paper = () => ({ paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: css("--ink") },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--faint"), activecolor: css("--ink") },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--faint"), align: "left",
      font: { color: css("--ink") } } });

  // The map ---------------------------------------------------------------------------------
  const colorings = {
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

  const fill = (menu, options) => {
    const before = menu.value;
    menu.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => value === before)) menu.value = before;
  };
  const map = () => data.maps[which.value];
  const steps = (one) => [...new Set(one.step.filter((step) => step !== null))].sort((a, b) => a - b);

  function choose() {
    const one = map();
    fill(method, one.embeddings.map((found, i) => [String(i), found.title]));
    fill(color, Object.keys(colorings).filter((key) => one[key] &&
      new Set(one[key].filter((value) => value !== null)).size > 1)
      .map((key) => [key, colorings[key].name]));
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

  function shades(one, key) {
    const values = key ? one[key] : one.labels.map(() => null);
    if (!key || colorings[key].kind === "category") {
      const count = new Map();
      values.forEach((value) => value && count.set(value, (count.get(value) || 0) + 1));
      const named = [...count.keys()].sort((a, b) => count.get(b) - count.get(a) || (a < b ? -1 : 1))
        .slice(0, data.palette.length);
      const palette = [css("--blue"), ...data.palette.slice(1)];
      const of = (value) => named.includes(value) ? palette[named.indexOf(value)] : css("--faint");
      const keys = named.map((value) => [of(value), value]);
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
      showscale: true, colorbar: { title: { text: colorings[key].name, side: "top" },
        orientation: "h", y: 1.02, yanchor: "bottom", thickness: 10, len: 0.9, outlinewidth: 0,
        tickvals: ticks, ticktext: ticks.map((tick) => short(key === "loss" ? from(tick)
          : Math.round(from(tick)))) } } };
  }

  const hover = (one, k) => [`<b>${safe(one.labels[k])}</b>`,
    one.type && one.type[k] ? `type ${safe(one.type[k])}` : "",
    one.size && one.size[k] ? `${short(one.size[k])} parameters` : "",
    one.loss[k] !== null ? `${one.loss[k].toFixed(3)} bits per byte of the texts` : "",
    one.nearest[k] !== null ? `nearest: ${safe(one.labels[one.nearest[k]])}` : "",
    one.nearest[k] !== null ? `KL to it: ${kl(one.nearest_kl[k])}` : "",
  ].filter(Boolean).join("<br>");

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
    const traces = [
      { ...lines, mode: "lines", hoverinfo: "skip", line: { color: css("--faint"), width: 1 },
        opacity: 0.7 },
      { x: at(x), y: at(y), mode: "markers", text: one.labels.map((_, k) => hover(one, k)),
        hovertemplate: "%{text}<extra></extra>",
        marker: { size: dense ? 5 : 8, line: { color: css("--paper"), width: dense ? 0 : 0.7 },
          ...marker } },
      { x: heads.map((k) => x[k]), y: heads.map((k) => y[k]), mode: "markers", hoverinfo: "skip",
        marker: { size: 12, color: heads.map((k) => typeof marker.color[k] === "string"
          ? marker.color[k] : css("--ink")), line: { color: css("--paper"), width: 1.5 } } },
      { x: rings.map((k) => x[k]), y: rings.map((k) => y[k]), mode: "markers", hoverinfo: "skip",
        marker: { size: 17, symbol: "circle-open", color: css("--bad"), line: { width: 2.5 } } },
    ];
    const same = { scaleanchor: "x", scaleratio: 1 };
    Plotly.react(get("map-plot"), traces, { ...paper(), showlegend: false, dragmode: "pan",
      margin: { l: 52, r: 12, t: marker.showscale ? 64 : 12, b: 46 }, hovermode: "closest",
      uirevision: `${which.value} ${method.value}`,
      xaxis: { ...axes(), title: { text: axisX } },
      yaxis: { ...axes(), title: { text: axisY }, ...same } }, config);
    get("map-keys").replaceChildren(...keys.map(([shade, text]) => {
      const item = document.createElement("span");
      const dot = document.createElement("i");
      dot.style.background = shade;
      item.append(dot, text);
      return item;
    }));
    get("map-now").textContent = moments.length ? `up to step ${now.toLocaleString("en")}` : "";
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

  // KL heat map -------------------------------------------------------------------------------
  function heat() {
    const one = data.heat;
    const count = one.labels.length;
    const rows = [];
    for (let k = 0, i = 0; i < count; i += 1) {
      rows.push(one.labels.map((_, j) => i === j ? null : one.kl[k + j]));
      k += count;
    }
    const logs = rows.map((row) => row.map((value) => value > 0 ? Math.log10(value) : null));
    const flat = logs.flat().filter((value) => value !== null);
    const low = flat.length ? flat.reduce((a, b) => Math.min(a, b)) : -1;
    const high = flat.length ? flat.reduce((a, b) => Math.max(a, b)) : 0;
    const ticks = [0, 1, 2, 3].map((i) => low + (high - low) * i / 3);
    const names = one.labels.map(safe);
    const places = names.map((_, i) => i);
    const few = count <= 30;
    const side = few ? Math.min(190, get("heat-plot").clientWidth * 0.34) : 14;
    const room = Math.floor((side - 12) / 7.2);  // letters
    const cut = one.labels.map((label) => safe(label.length > room
      ? `…${label.slice(1 - room)}` : label));
    Plotly.react(get("heat-plot"), [
      { type: "heatmap", x: places, y: places, z: logs, colorscale: "Viridis", zmin: low,
        zmax: high, customdata: rows.map((row, i) => row.map((value, j) => i === j ? "itself"
          : `${names[i]}<br>${names[j]}<br>KL ${kl(value)}`)),
        hovertemplate: "%{customdata}<extra></extra>",
        colorbar: { title: { text: "KL (bits per byte)", side: "top" }, orientation: "h", y: 1.02,
          yanchor: "bottom", thickness: 10, len: 0.9, tickvals: ticks, outlinewidth: 0,
          ticktext: ticks.map((tick) => short(Math.pow(10, tick))) } },
      { x: one.tree.x, y: one.tree.y, yaxis: "y2", mode: "lines", hoverinfo: "skip",
        line: { color: css("--soft"), width: 1 } },
    ], { ...paper(), showlegend: false, margin: { l: side, r: 8, t: 62, b: few ? side * 0.8 : 14 },
      xaxis: { ...axes(), showgrid: false, zeroline: false, range: [-0.5, count - 0.5],
        tickvals: few ? places : [], ticktext: cut, tickangle: -60 },
      yaxis: { ...axes(), showgrid: false, zeroline: false, range: [count - 0.5, -0.5],
        domain: [0, 0.84], tickvals: few ? places : [], ticktext: cut },
      yaxis2: { domain: [0.86, 1], visible: false, range: [0, one.tree.top * 1.05] } },
    { ...config, scrollZoom: false });
  }

  function all() {
    if (data.maps.length) draw();
    if (data.heat) heat();
  }
  if (data.maps.length) {
    fill(which, data.maps.map((one, i) => [String(i), one.title]));
    which.addEventListener("change", () => { choose(); draw(); });
    [method, color].forEach((menu) => menu.addEventListener("change", draw));
    [search, slider].forEach((one) => one.addEventListener("input", draw));
    choose();
  }
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  document.documentElement.dataset.drawn = "yes";
})();
