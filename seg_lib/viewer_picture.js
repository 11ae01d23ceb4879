// The picture of SliceViewer: shows the frames that the kernel sends, and tells the kernel what
// wheel, keys and pointer do over them. The slices next to the one shown are fetched in advance, so
// that scrolling need not wait for the kernel. No library and no address comes into this file.

const HELP =
  "Wheel or arrow keys: slice by slice. Page Up, Page Down: ten slices. N, P: next and previous " +
  "lesion. Click: all planes pass through that point.";
const PATIENCE_MS = 500; // a kernel that is busy is not asked again sooner
const REST_MS = 300; // after scrolling for so long, the kernel's picture is brought up to date
const AHEAD = [1, 2, -1]; // slices fetched in advance, in the direction of scrolling
const KEPT = 4; // slices on each side whose frames are kept

const KEYS = {
  ArrowUp: { scroll: 1 }, ArrowRight: { scroll: 1 }, PageUp: { scroll: 10 },
  ArrowDown: { scroll: -1 }, ArrowLeft: { scroll: -1 }, PageDown: { scroll: -10 },
  Home: { scroll: -100000 }, End: { scroll: 100000 }, n: { lesion: 1 }, p: { lesion: -1 },
};

function made(kind, parent, style = "", properties = {}) {
  const element = Object.assign(document.createElement(kind), properties);
  element.style.cssText = style;
  return parent.appendChild(element);
}

// The pixels of a frame; panes.canvas_bytes says how they are packed.
function draw(canvas, { buffer, byteOffset, byteLength }) {
  const packed = buffer.slice(byteOffset, byteOffset + byteLength);
  const [height, width, n] = new Uint32Array(packed, 0, 3);
  const places = new Uint32Array(packed, 12, n), colours = new Uint32Array(packed, 12 + 4 * n, n);
  const grey = new Uint8Array(packed, 12 + 8 * n);
  const frame = new ImageData(width, height), pixels = new Uint32Array(frame.data.buffer);
  for (let i = 0; i < grey.length; i++) pixels[i] = 0xff000000 | (grey[i] * 0x10101);
  for (let i = 0; i < n; i++) pixels[places[i]] = colours[i];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  canvas.getContext("2d").putImageData(frame, 0, 0);
}

function render({ model, el }) {
  const figure = made("figure", el, "margin:0;max-width:100%;line-height:1.5");
  const image = made("canvas", figure, "display:block;max-width:100%;cursor:crosshair", {
    tabIndex: 0, title: HELP,
  });
  image.setAttribute("role", "img");
  const caption = made("figcaption", figure);
  const save = made("a", caption, "float:right;text-decoration:underline", {
    textContent: "Save picture", download: "slice.png", href: "#",
  });
  save.addEventListener("click", () => { save.href = image.toDataURL(); });
  const words = made("div", caption);
  const legend = made("div", caption, "min-height:1.5em");
  const under = made("div", caption, "min-height:1.5em;font-variant-numeric:tabular-nums");

  let here = {}; // the words of the slice that is shown
  let way = 1, move = 0, resting = 0;
  const frames = new Map(), asked = new Set(); // of this look, by slice

  function show(told, frame) {
    if (told.look !== here.look) [frames, asked].forEach((known) => known.clear());
    here = told;
    frames.set(told.index, [told, frame]);
    for (const index of frames.keys())
      if (Math.abs(index - told.index) > KEPT) frames.delete(index);
    draw(image, frame);
    showWords(told);
  }

  // The kernel's own picture; one that was drawn before a slice was shown from here is too late.
  function showKernels() {
    const told = model.get("words");
    if (told.move < move) return;
    move = told.move;
    show(told, model.get("frame"));
    clearTimeout(patience);
    busy = false;
    pass();
    fetchAhead();
  }

  function showFetched(index) {
    show(...frames.get(index));
    waiting = null;
    clearTimeout(resting);
    resting = setTimeout(() => model.send({ rest: true }), REST_MS);
    fetchAhead({ index, move: ++move });
  }

  // In one message, because each costs the kernel more than a slice: what is shown, what to fetch.
  function fetchAhead(shown = {}) {
    const unknown = (i) => i >= 0 && i < here.n_slices && !frames.has(i) && !asked.has(i);
    const ahead = AHEAD.map((steps) => here.index + way * steps).filter(unknown);
    ahead.forEach((index) => asked.add(index));
    if (ahead.length || "index" in shown) model.send({ ...shown, ahead });
  }

  function keep({ ahead }, [frame]) {
    asked.delete(ahead.index);
    if (ahead.look !== here.look) return;
    frames.set(ahead.index, [ahead, frame]);
    pass();
  }

  function showWords(told) {
    image.setAttribute("aria-label", told.alt);
    words.textContent = told.caption;
    legend.replaceChildren();
    for (const [name, colour] of told.legend) {
      const square = "display:inline-block;width:.8em;height:.8em;margin-right:.4em;background:";
      made("span", legend, square + colour);
      made("span", legend, "margin-right:1.2em", { textContent: name });
    }
  }

  function showUnder() {
    under.textContent = model.get("under");
  }

  // Wheel and keys add up while a frame is under way: the kernel is asked once a frame.
  let busy = false, waiting = null, patience = 0;

  function ask(message) {
    const adds = waiting && "scroll" in waiting && "scroll" in message;
    waiting = adds ? { ...message, scroll: waiting.scroll + message.scroll } : message;
    pass();
  }

  // The slice that a scroll leads to; null where only the kernel can say it.
  function goalOf({ scroll }) {
    if (!scroll || !here.n_slices) return null;
    return Math.max(0, Math.min(here.n_slices - 1, here.index + scroll));
  }

  function pass() {
    if (busy || !waiting) return;
    way = Math.sign(waiting.scroll) || way;
    const goal = goalOf(waiting);
    if (goal === here.index) waiting = null;
    else if (frames.has(goal)) showFetched(goal);
    else {
      clearTimeout(patience); // where nothing changes, no frame comes
      patience = setTimeout(() => { busy = false; asked.clear(); pass(); }, PATIENCE_MS);
      if (asked.has(goal)) return; // it is on its way
      busy = true;
      model.send(waiting);
      waiting = null;
    }
  }

  function place(event) {
    const box = image.getBoundingClientRect();
    const scale = image.width / box.width; // a narrow page shows the picture smaller
    return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  }

  image.addEventListener("wheel", (event) => {
    event.preventDefault();
    ask({ scroll: event.deltaY < 0 ? 1 : -1, at: place(event) });
  }, { passive: false });
  image.addEventListener("keydown", (event) => {
    const message = KEYS[event.key];
    if (!message || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // not also a command of the notebook
    ask(message);
  });
  image.addEventListener("click", (event) => {
    image.focus();
    ask({ click: place(event) });
  });
  let pointed = 0;
  image.addEventListener("pointermove", (event) => {
    if (event.timeStamp - pointed < 50) return;
    pointed = event.timeStamp;
    model.send({ under: place(event) });
  });

  model.on("change:words", showKernels); // they change with every frame
  model.on("change:under", showUnder);
  model.on("msg:custom", keep);
  showKernels();
  showUnder();
}

export default { render };
