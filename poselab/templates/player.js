// Two stages, one clock. All data stands in the page: keypoints and degrees of every frame, pictures of some.
(function () {
'use strict';
const $ = id => document.getElementById(id), D = JSON.parse($('data').textContent);
const MISSING = -32768, UNKNOWN = 255, NONE = 65535, FULL = 10000; // FULL: a score of 1

// Numbers travel as base64: a string becomes the bytes it stands for.
function numbers(text, Kind) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}
const degrees = numbers(D.degrees, Uint8Array), curve = numbers(D.curve, Uint16Array), moments = numbers(D.at, Float32Array);
const sides = D.sides.map((s, i) => ({...s, xy: numbers(s.xy, Int16Array), canvas: $('stage' + i), when: $('when' + i), kept: new Map()}));
const last = D.frames - 1;
let at = 0, playing = false, speed = 1, before = 0;

// ---- colours: the same steps as in the legend
function step(d) { let k = 0; while (k + 1 < D.steps.length && d >= D.steps[k + 1].from) k++; return D.steps[k]; }
function color(d) { return d === UNKNOWN ? D.unknown : step(d).color; }

// ---- pictures: decoded when needed, the last few are kept
function nearest(times, t) {
  let lo = 0, hi = times.length - 1;
  while (lo < hi) { const mid = (lo + hi) >> 1; if (times[mid] < t) lo = mid + 1; else hi = mid; }
  return lo && t - times[lo - 1] < times[lo] - t ? lo - 1 : lo;
}
function picture(side, k) {
  let img = side.kept.get(k);
  if (img) { side.kept.delete(k); side.kept.set(k, img); return img; }
  img = new Image();
  img.onload = () => { if (side.wanted === k) show(); };
  img.src = 'data:image/jpeg;base64,' + side.pictures[k];
  side.kept.set(k, img);
  if (side.kept.size > 60) side.kept.delete(side.kept.keys().next().value);
  return img;
}

// ---- skeletons
function point(side, i, ks) { // mean of one or two keypoints of frame i, or null
  let x = 0, y = 0;
  for (const k of ks) {
    const o = 2*(i*D.keypoints + k);
    if (side.xy[o] === MISSING) return null;
    x += side.xy[o]; y += side.xy[o + 1];
  }
  return [x/ks.length/D.grid, y/ks.length/D.grid]; // share of the stage's width
}
function pose(side, i) { return D.limbs.map(l => { const a = point(side, i, l.a), b = point(side, i, l.b); return a && b ? [a, b] : null; }); }
function stroke(c, a, b, width, style) { c.lineWidth = width; c.strokeStyle = style; c.beginPath(); c.moveTo(a[0], a[1]); c.lineTo(b[0], b[1]); c.stroke(); }
function skeleton(c, w, lines, looks) {
  const base = Math.max(3, w/95);
  c.lineCap = 'round';
  lines.forEach((l, k) => { // a dark and a light rim make any colour readable on any picture
    if (!l) return;
    const [a, b] = l.map(p => [p[0]*w, p[1]*w]), {style, wide, head} = looks(k), width = base*wide;
    stroke(c, a, b, width + base*.9, 'rgba(20,24,31,.85)'); stroke(c, a, b, width + base*.35, '#fff'); stroke(c, a, b, width, style);
    if (head) { c.beginPath(); c.arc(b[0], b[1], base*1.6, 0, 7); c.fillStyle = style; c.fill(); c.lineWidth = base*.3; c.strokeStyle = 'rgba(20,24,31,.85)'; c.stroke(); }
  });
}
function ghost(c, w, i, mine, his) { // the teacher's pose with the pupil's place, size and tilt
  const up = D.limbs.findIndex(l => l.name === 'spine');
  if (up < 0 || !mine[up] || !his[up]) return;
  const [p, n] = his[up], [q, m] = mine[up], u = [n[0] - p[0], n[1] - p[1]], v = [m[0] - q[0], m[1] - q[1]], len = u[0]*u[0] + u[1]*u[1];
  const turned = D.settings.frame !== 'image', k = Math.hypot(...v)/Math.sqrt(len);
  const re = turned ? (u[0]*v[0] + u[1]*v[1])/len : k, im = turned ? (u[0]*v[1] - u[1]*v[0])/len : 0;
  const move = z => { const x = z[0] - p[0], y = z[1] - p[1]; return [(q[0] + re*x - im*y)*w, (q[1] + im*x + re*y)*w]; };
  c.setLineDash([w/60, w/45]);
  his.forEach(l => { if (l) { const [a, b] = l.map(move); stroke(c, a, b, Math.max(3, w/110), 'rgba(20,24,31,.8)'); stroke(c, a, b, Math.max(1.5, w/190), '#fff'); } });
  c.setLineDash([]);
}
function draw(s, i) {
  const side = sides[s], canvas = side.canvas, c = canvas.getContext('2d'), w = canvas.width, h = canvas.height;
  const t = s ? moments[i] : i/D.fps, here = Number.isFinite(t);
  c.fillStyle = '#e9ecf0'; c.fillRect(0, 0, w, h);
  if (side.pictures.length && here) {
    const k = nearest(side.times, t), img = picture(side, k); side.wanted = k;
    if (img.complete && img.naturalWidth) side.shown = img;
    if (side.shown) c.drawImage(side.shown, 0, 0, w, h);
    if (playing && k + 1 < side.pictures.length) picture(side, k + 1); // the next one is decoded in good time
  } else if (here) { c.fillStyle = '#d5d9df'; c.fillRect(0, h*side.floor, w, h); }
  const lines = pose(side, i), off = k => D.limbs[k].row < 0 ? UNKNOWN : degrees[D.limbs[k].row*D.frames + i];
  if (lines.some(Boolean)) {
    if (s && $('ghost').checked) ghost(c, w, i, lines, pose(sides[0], i));
    skeleton(c, w, lines, k => ({head: D.limbs[k].name === 'head', // the teacher, and limbs that are not compared, stay white
      ...(!s || D.limbs[k].row < 0 ? {style: '#fff', wide: .7} : {style: color(off(k)), wide: off(k) === UNKNOWN ? 1 : step(off(k)).wide})}));
  } else { c.fillStyle = '#23272f'; c.font = `${Math.max(14, w/24)}px system-ui, sans-serif`; c.textAlign = 'center'; c.fillText(here ? 'nobody here' : 'not in this film', w/2, h/2); }
}

// ---- the curve and the strip: painted once, a line moves over them
const box = {left: 0, width: 1}, line = $('line'), cursor = $('cursor');
function paint_line() {
  const canvas = $('curve'), ratio = window.devicePixelRatio || 1, w = line.clientWidth, small = w < 520;
  const left = small ? 78 : 112, top = 8, high = 84, gap = 8, late = D.timed ? 26 : 0, row = small ? 13 : 15, rows = D.rows.length, h = top + high + gap + late + rows*row + 22;
  canvas.width = w*ratio; canvas.height = h*ratio; canvas.style.height = h + 'px';
  const c = canvas.getContext('2d'), wide = w - left - 8; c.scale(ratio, ratio);
  box.left = left; box.width = wide;
  const x = i => left + (last ? i/last : 0)*wide, y = v => top + high*(1 - (v - D.low)/(1 - D.low));
  c.font = '11px system-ui, sans-serif'; c.textBaseline = 'middle'; c.textAlign = 'right'; c.fillStyle = '#5d6570';
  for (const v of [D.low, (1 + D.low)/2, 1]) { c.fillText(v.toFixed(2), left - 6, y(v)); c.fillStyle = '#e2e4e8'; c.fillRect(left, y(v) - .5, wide, 1); c.fillStyle = '#5d6570'; }
  c.save(); c.translate(10, top + high/2); c.rotate(-Math.PI/2); c.textAlign = 'center'; c.fillText('score', 0, 0); c.restore();
  // every column of pixels shows the lowest and the highest score of its frames
  const cols = Math.max(2, Math.floor(wide));
  const each = (f, n = cols) => { // n columns: their number, first frame, frame after the last
    for (let p = 0; p < n; p++) { const i = Math.round(p/(n - 1)*last); f(p, i, Math.max(i + 1, Math.round((p + 1)/(n - 1)*last))); }
  };
  const dots = Math.max(2, Math.min(cols, D.frames));
  c.strokeStyle = '#0072B2'; c.lineWidth = 1.8; c.lineJoin = 'round'; c.beginPath(); let down = false;
  each((p, i, j) => {
    let lo = NONE, hi = -1;
    for (let k = i; k < Math.min(j, D.frames); k++) if (curve[k] !== NONE) { lo = Math.min(lo, curve[k]); hi = Math.max(hi, curve[k]); }
    if (hi < 0) { down = false; return; }
    const px = left + p/(dots - 1)*wide, to = v => y(Math.max(D.low, v/FULL));
    if (down) c.lineTo(px, to(hi)); else c.moveTo(px, to(hi));
    if (lo !== hi) c.lineTo(px, to(lo));
    down = true;
  }, dots);
  c.stroke();
  let base = top + high + gap;
  if (late) { // early below the line, late above it
    const most = Math.max(100, ...D.late.filter(Number.isFinite).map(Math.abs)), mid = base + late/2 - 3;
    c.fillStyle = '#5d6570'; c.textAlign = 'right'; c.fillText(small ? 'timing' : 'late \u25B2 early \u25BC', left - 6, mid);
    c.fillStyle = '#e2e4e8'; c.fillRect(left, mid, wide, 1);
    each((p, i) => { const v = D.late[Math.min(D.late.length - 1, Math.floor(i/D.frames*D.late.length))]; if (v == null) return; c.fillStyle = v > 0 ? '#ec7014' : '#0072B2'; const q = v/most*(late/2 - 3); c.fillRect(left + p, Math.min(mid, mid - q), 1, Math.abs(q)); });
    base += late;
  }
  D.rows.forEach((name, r) => { // limb by time; of several frames in one column the worst counts
    const py = base + r*row;
    c.fillStyle = '#23272f'; c.textAlign = 'right'; c.fillText(small ? name.replace('left ', 'L ').replace('right ', 'R ') : name, left - 6, py + row/2);
    each((p, i, j) => {
      let d = -1;
      for (let k = i; k < Math.min(j, D.frames); k++) { const v = degrees[r*D.frames + k]; if (v !== UNKNOWN) d = Math.max(d, v); }
      c.fillStyle = d < 0 ? D.unknown : color(d); c.fillRect(left + p, py, 1.5, row - 2);
    });
  });
  c.fillStyle = '#5d6570'; c.textAlign = 'center';
  const long = last/D.fps, unit = [.1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300].find(u => long/u <= (small ? 5 : 10)) || 600;
  for (let t = 0; t <= long + 1e-6; t += unit) { c.fillRect(x(t*D.fps), base + rows*row, 1, 4); c.fillText(clock(t, unit < 1 ? 1 : 0), Math.min(x(t*D.fps), w - 12), base + rows*row + 12); }
}
function clock(t, digits) { return t < 60 ? t.toFixed(digits) + ' s' : Math.floor(t/60) + ':' + String(Math.floor(t % 60)).padStart(2, '0'); }

// ---- the clock
function show() {
  const i = Math.max(0, Math.min(last, Math.floor(at)));
  draw(0, i); draw(1, i);
  const t = i/D.fps, score = curve[i] === NONE ? '\u2013' : (curve[i]/FULL).toFixed(2), late = moments[i] - t - D.lag;
  $('time').textContent = `${t.toFixed(2)} s \u00B7 score ${score}`;
  sides[1].when.textContent = !Number.isFinite(moments[i]) ? '' : `at ${moments[i].toFixed(2)} s` + (D.timed && Math.abs(late) >= .03 ? `, ${Math.abs(late*1000).toFixed(0)} ms ${late > 0 ? 'late' : 'early'}` : '');
  cursor.style.left = box.left + (last ? i/last : 0)*box.width + 'px';
  line.setAttribute('aria-valuenow', t.toFixed(2)); line.setAttribute('aria-valuetext', `${t.toFixed(2)} seconds, score ${score}`);
}
function tick(now) {
  if (!playing) return;
  at += (now - before)/1000*D.fps*speed; before = now;
  if (at >= last + 1) { at = last; play(false); }
  show(); if (playing) requestAnimationFrame(tick);
}
function play(on) {
  playing = on; $('play').innerHTML = on ? '&#10074;&#10074; Pause' : '&#9654; Play';
  if (on) { if (at >= last) at = 0; before = performance.now(); requestAnimationFrame(tick); }
}
function go(frame, stop = true) { if (stop) play(false); at = Math.max(0, Math.min(last, frame)); show(); }
function jump(t) { go(Math.round(t*D.fps)); $('stages').scrollIntoView({behavior: 'smooth', block: 'nearest'}); }

$('play').onclick = () => play(!playing);
$('back').onclick = () => go(Math.floor(at) - 1); $('on').onclick = () => go(Math.floor(at) + 1);
$('speed').onchange = e => { speed = +e.target.value; }; $('ghost').onchange = show;
document.addEventListener('click', e => { const b = e.target.closest('[data-t]'); if (b) jump(+b.dataset.t); });
let held = false;
const scrub = e => go((e.clientX - line.getBoundingClientRect().left - box.left)/box.width*last);
line.addEventListener('pointerdown', e => { held = true; try { line.setPointerCapture(e.pointerId); } catch (_) {} scrub(e); });
line.addEventListener('pointermove', e => { if (held) scrub(e); });
for (const end of ['pointerup', 'pointercancel']) line.addEventListener(end, () => { held = false; });
document.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  const on = e.target.closest('button, input'), many = e.shiftKey ? Math.round(D.fps) : 1;
  if (e.key === ' ') { if (on) return; play(!playing); }
  else if (e.key === 'ArrowRight') go(Math.floor(at) + many); else if (e.key === 'ArrowLeft') go(Math.floor(at) - many);
  else if (e.key === 'Home') go(0); else if (e.key === 'End') go(last); else return;
  e.preventDefault();
});
function fit() { // canvases as sharp as the screen
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  sides.forEach(s => { const w = s.canvas.parentElement.clientWidth; s.canvas.width = Math.round(w*ratio); s.canvas.height = Math.round(w*ratio/s.aspect); });
  paint_line(); show();
}
let wait; window.addEventListener('resize', () => { clearTimeout(wait); wait = setTimeout(fit, 60); });
window.addEventListener('beforeprint', fit);
at = D.first; fit();
})();
