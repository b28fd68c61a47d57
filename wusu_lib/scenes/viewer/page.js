(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const [stage, map, handle, info, legend] = ["stage", "map", "handle", "info", "legend"].map((id) => document.getElementById(id));
  const pen = map.getContext("2d");
  const [width, height] = data.size;
  const CLOSEST = 24; // screen pixels for a pixel of the picture
  const REACH = 14; // screen pixels around a finger in which the nearest outline counts as hit
  const view = { scale: 1, x: 0, y: 0 }; // screen = picture * scale + (x, y), in CSS pixels
  const hidden = new Set(); // classes switched off
  let shown = true; // the polygons altogether
  let border = 0.5; // between the dates, as a share of the stage's width
  let chosen = null;
  let size = [0, 0];

  const polygons = data.polygons.map((row) => {
    const path = new Path2D();
    for (const ring of row.rings) {
      let x = 0, y = 0; // a ring is a list of steps in tenths of a pixel
      for (let i = 0; i < ring.length; i += 2) {
        x += ring[i]; y += ring[i + 1];
        if (i) path.lineTo(x / 10, y / 10); else path.moveTo(x / 10, y / 10);
      }
      path.closePath();
    }
    return { ...row, path };
  });
  const visible = () => (shown ? polygons.filter((p) => !hidden.has(p.to)) : []);

  const pictures = data.pictures.map((source) => {
    const picture = new Image();
    picture.onload = draw;
    picture.src = source;
    return picture;
  });

  let waiting = false;
  function draw() {
    if (!waiting) { waiting = true; requestAnimationFrame(paint); }
  }

  function paint() {
    waiting = false;
    const ratio = window.devicePixelRatio || 1;
    const place = () => pen.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, ...size);
    const x = border * size[0];
    [[0, x], [x, size[0] - x]].forEach(([left, wide], date) => {
      pen.save();
      pen.beginPath();
      pen.rect(left, 0, wide, size[1]);
      pen.clip();
      place();
      pen.imageSmoothingEnabled = view.scale < 3;
      if (pictures[date].complete) pen.drawImage(pictures[date], 0, 0, width, height);
      pen.restore();
    });
    place();
    pen.lineJoin = "round";
    for (const polygon of visible()) outline(polygon, polygon === chosen);
    if (chosen && visible().includes(chosen)) outline(chosen, true);
  }

  function outline(polygon, strong) {
    const colour = data.colours[polygon.to];
    pen.globalAlpha = strong ? 0.15 : 0.4;
    pen.fillStyle = colour;
    pen.fill(polygon.path, "evenodd");
    pen.globalAlpha = 1;
    for (const [paint, wide] of strong ? [["#000", 7], ["#fff", 4]] : [["#fff", 3.5], [colour, 2]]) {
      pen.strokeStyle = paint;
      pen.lineWidth = wide / view.scale;
      pen.stroke(polygon.path);
    }
  }

  // view
  const whole = () => Math.min(size[0] / width, size[1] / height);
  function keep() {
    view.scale = Math.min(Math.max(view.scale, whole()), Math.max(CLOSEST, whole()));
    for (const [axis, long, room] of [["x", width, size[0]], ["y", height, size[1]]]) {
      const gap = room - long * view.scale;
      view[axis] = gap > 0 ? gap / 2 : Math.min(0, Math.max(gap, view[axis]));
    }
    draw();
  }
  function zoom(factor, x = size[0] / 2, y = size[1] / 2) {
    const before = view.scale;
    view.scale = Math.min(Math.max(before * factor, whole()), Math.max(CLOSEST, whole()));
    view.x = x - ((x - view.x) * view.scale) / before;
    view.y = y - ((y - view.y) * view.scale) / before;
    keep();
  }
  function move(x, y) { view.x += x; view.y += y; keep(); }
  function showAll() { view.scale = 0; keep(); }
  function show(polygon) {
    const [left, top, right, bottom] = polygon.box;
    view.scale = Math.min(size[0] / (4 * (right - left) + 20), size[1] / (4 * (bottom - top) + 20));
    keep();
    view.x = size[0] / 2 - ((left + right) / 2) * view.scale;
    view.y = size[1] / 2 - ((top + bottom) / 2) * view.scale;
    keep();
  }
  new ResizeObserver(() => {
    const first = !size[0];
    size = [stage.clientWidth, stage.clientHeight];
    const ratio = window.devicePixelRatio || 1;
    [map.width, map.height] = size.map((side) => Math.round(side * ratio));
    if (first) showAll(); else keep();
    divide(border);
  }).observe(stage);

  // border between the dates
  function divide(share) {
    border = Math.min(1, Math.max(0, share));
    const percent = Math.round(100 * border);
    handle.style.left = `${100 * border}%`;
    handle.setAttribute("aria-valuenow", percent);
    handle.setAttribute("aria-valuetext", `${data.dates[0]} on the left ${percent} %, ${data.dates[1]} on the right`);
    draw();
  }
  const swipe = (event) => divide((event.clientX - stage.getBoundingClientRect().left) / size[0]);
  handle.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (handle.hasPointerCapture(event.pointerId)) swipe(event);
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowDown: -0.02, ArrowRight: 0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    divide(border + step);
  });

  // pan, pinch and click
  const fingers = new Map();
  let travelled = 0;
  const at = (event) => {
    const box = map.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    if (!fingers.size) travelled = 0;
    fingers.set(event.pointerId, at(event));
  });
  map.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    travelled += Math.hypot(now[0] - before[0], now[1] - before[1]);
    fingers.set(event.pointerId, now);
    if (other) {
      const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
      zoom(apart(now) / apart(before), (before[0] + other[0]) / 2, (before[1] + other[1]) / 2);
      travelled += 100; // a pinch is no click
      move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else move(now[0] - before[0], now[1] - before[1]);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    map.addEventListener(end, (event) => {
      const held = fingers.delete(event.pointerId);
      if (held && end === "pointerup" && travelled < 6) choose(hit(...at(event)));
    });
  }
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...at(event));
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const act = {
      ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
      "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: showAll,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const [id, act] of [["closer", () => zoom(1.6)], ["farther", () => zoom(1 / 1.6)], ["whole", showAll]]) {
    document.getElementById(id).addEventListener("click", act);
  }

  function hit(x, y) {
    const [column, row] = [(x - view.x) / view.scale, (y - view.y) / view.scale];
    pen.setTransform(1, 0, 0, 1, 0, 0);
    const candidates = visible().filter(({ box }) => {
      const reach = REACH / view.scale;
      return column > box[0] - reach && column < box[2] + reach && row > box[1] - reach && row < box[3] + reach;
    });
    const inside = candidates.find((p) => pen.isPointInPath(p.path, column, row, "evenodd"));
    if (inside) return inside;
    for (let reach = 2; reach <= REACH; reach += 2) {
      pen.lineWidth = (2 * reach) / view.scale;
      const near = candidates.find((p) => pen.isPointInStroke(p.path, column, row));
      if (near) return near;
    }
    return null;
  }

  // what was chosen
  const number = new Intl.NumberFormat("en");
  function area(value) {
    return value < 10000 ? `${number.format(Math.round(value))} m²` : `${number.format(Math.round(value / 100) / 100)} ha`;
  }
  function line(text, kind) {
    const paragraph = document.createElement("p");
    paragraph.className = kind;
    paragraph.textContent = text;
    return paragraph;
  }
  function choose(polygon) {
    chosen = polygon;
    const lines = polygon ? [
      line(`${polygon.from} → ${polygon.to}`, "what"),
      line(`${area(polygon.area)}, confidence ${Math.round(100 * polygon.confidence)} %`, "figures"),
    ] : [line(data.hint, "quiet")];
    if (polygon && polygon.whole > polygon.area) lines.push(line(`Part of a change of ${area(polygon.whole)} in all`, "quiet"));
    info.replaceChildren(...lines);
    draw();
  }

  // what is shown
  function box(text, colour, change) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "checkbox";
    input.checked = true;
    input.addEventListener("change", () => { change(input.checked); draw(); });
    label.append(input);
    if (colour) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour;
      label.append(swatch);
    }
    label.append(text);
    legend.append(label);
  }
  box("All polygons", "", (on) => { shown = on; });
  for (const [name, total] of Object.entries(data.totals)) {
    box(`To ${name.toLowerCase()}: ${area(total)}`, data.colours[name], (on) => { if (on) hidden.delete(name); else hidden.add(name); });
  }
  const seen = new Set();
  const first = polygons.filter((p) => !seen.has(p.object) && seen.add(p.object)).slice(0, 12);
  for (const polygon of first) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${polygon.target}, ${area(polygon.whole)}`;
    button.addEventListener("click", () => { choose(polygon); show(polygon); });
    item.append(button);
    document.querySelector("#largest ol").append(item);
  }
  if (!first.length) document.getElementById("largest").remove();
  document.querySelector(".date.left").textContent = data.dates[0];
  document.querySelector(".date.right").textContent = data.dates[1];
  choose(null);
})();
