"use strict";
// Three planes through one point of the volume. Sprites are decoded once into arrays of
// grey values, index (z * ny + y) * nx + x; x runs to the patient's left, y to the back,
// z upwards.
(async () => {
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const byId = (id) => document.getElementById(id);
  const shape = data.shape;
  const strides = [1, shape[0], shape[0] * shape[1]];
  const AXES = { axial: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0] };
  const FLAGGED = "rgb(0 229 255)", LABELLED = "rgb(124 255 90)";
  const UNLISTED = 255;

  const decode = async (source) => {
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    const canvas = document.createElement("canvas");
    canvas.width = picture.width;
    canvas.height = picture.height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
    const [nx, ny, nz] = shape;
    const voxels = new Uint8Array(nx * ny * nz);
    let index = 0;
    for (let z = 0; z < nz; z++) {
      const left = (z % data.columns) * nx, top = Math.floor(z / data.columns) * ny;
      for (let y = 0; y < ny; y++) {
        let place = 4 * ((top + y) * picture.width + left);
        for (let x = 0; x < nx; x++, place += 4) voxels[index++] = pixels[place];
      }
    }
    return voxels;
  };

  const scans = await Promise.all(data.contrasts.map((contrast) => decode(contrast.source)));
  const scores = await decode(data.scores);
  const regions = await decode(data.regions);
  const labels = data.labels && (await decode(data.labels));

  const colours = Array.from({ length: 256 }, (_, grey) => {
    const place = (grey / 255) * (data.colours.length - 1);
    const low = Math.min(Math.floor(place), data.colours.length - 2);
    return [0, 1, 2].map((k) =>
      data.colours[low][k] + (place - low) * (data.colours[low + 1][k] - data.colours[low][k]));
  });

  const state = {
    point: [...data.point], contrast: data.first, opacity: 55, start: data.start,
    flagged: true, labelled: true, cross: true, region: data.cores.length ? 1 : 0,
  };

  class Plane {
    constructor(name) {
      this.name = name;
      [this.across, this.down, this.through] = AXES[name];
      this.width = shape[this.across];
      this.height = shape[this.down];
      // Up is up: z runs upwards, rows downwards.
      this.flipped = this.down === 2;
      this.canvas = byId(name);
      this.slider = byId(`${name}-slice`);
      this.picture = new OffscreenCanvas(this.width, this.height);
      this.pixels = new ImageData(this.width, this.height);
      this.mm = [this.width * data.voxelSize[this.across], this.height * data.voxelSize[this.down]];
      this.canvas.style.aspectRatio = `${this.mm[0]} / ${this.mm[1]}`;
      this.slider.max = shape[this.through];
      this.slider.addEventListener("input", () => this.go(this.slider.value - 1));
      this.canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        this.step(event.deltaY < 0 ? 1 : -1);
      }, { passive: false });
      this.canvas.addEventListener("pointerdown", (event) => {
        this.canvas.setPointerCapture(event.pointerId);
        this.point(event);
      });
      this.canvas.addEventListener("pointermove", (event) => {
        if (event.buttons & 1) this.point(event);
      });
      this.canvas.addEventListener("keydown", (event) => this.key(event));
    }

    go(slice) {
      state.point[this.through] = Math.min(Math.max(slice, 0), shape[this.through] - 1);
      draw();
    }

    step(count) {
      this.go(state.point[this.through] + count);
    }

    row(pixel) {
      return this.flipped ? this.height - 1 - pixel : pixel;
    }

    point(event) {
      const box = this.canvas.getBoundingClientRect();
      const at = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
      state.point[this.across] = at((event.clientX - box.left) / box.width, this.width);
      state.point[this.down] = this.row(at((event.clientY - box.top) / box.height, this.height));
      const here = regions[indexOf(state.point)];
      if (here && here !== UNLISTED) state.region = here;
      draw();
    }

    key(event) {
      const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const key = event.key.toLowerCase();
      if (event.key in steps) this.step(steps[event.key]);
      else if (key === "o") setOpacity(state.opacity ? 0 : 55);
      else if (key === "n") showRegion(state.region + 1);
      else if (key === "p") showRegion(state.region - 1);
      else if (key >= "1" && key <= String(Math.min(scans.length, 9))) setContrast(key - 1);
      else return;
      event.preventDefault();
    }

    index(column, row) {
      return this.origin + column * strides[this.across] + this.row(row) * strides[this.down];
    }

    draw() {
      const slice = state.point[this.through];
      this.origin = slice * strides[this.through];
      const scan = scans[state.contrast], pixels = this.pixels.data;
      let place = 0;
      for (let row = 0; row < this.height; row++) {
        for (let column = 0; column < this.width; column++, place += 4) {
          const index = this.index(column, row), grey = scan[index], score = scores[index];
          const share = score >= state.start ? state.opacity / 100 : 0;
          for (let k = 0; k < 3; k++) pixels[place + k] = grey + share * (colours[score][k] - grey);
          pixels[place + 3] = 255;
        }
      }
      this.picture.getContext("2d").putImageData(this.pixels, 0, 0);
      const width = Math.max(1, Math.round(this.canvas.clientWidth * devicePixelRatio));
      const height = Math.max(1, Math.round((width * this.mm[1]) / this.mm[0]));
      if (this.canvas.width !== width || this.canvas.height !== height) {
        this.canvas.width = width;
        this.canvas.height = height;
      }
      const context = this.canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, 0, 0, width, height);
      const line = devicePixelRatio;
      if (labels && state.labelled) this.outline(context, (v) => labels[v] > 0, LABELLED, 1.5 * line);
      if (state.flagged) {
        this.outline(context, (v) => regions[v] > 0, FLAGGED, 1 * line);
        this.outline(context, (v) => regions[v] === state.region && state.region > 0, FLAGGED, 2.2 * line);
      }
      if (state.cross) this.cross(context, line);
      const total = shape[this.through];
      this.slider.value = slice + 1;
      this.slider.nextElementSibling.textContent = `${slice + 1} / ${total}`;
      this.canvas.setAttribute("aria-label",
        `${this.name} slice ${slice + 1} of ${total}, ${data.contrasts[state.contrast].name}`);
    }

    // The edges of all pixels inside that have a neighbour outside.
    outline(context, inside, colour, thickness) {
      const { width, height } = context.canvas;
      const sx = width / this.width, sy = height / this.height;
      const at = (column, row) =>
        column >= 0 && row >= 0 && column < this.width && row < this.height && inside(this.index(column, row));
      context.beginPath();
      for (let row = 0; row < this.height; row++) {
        for (let column = 0; column < this.width; column++) {
          if (!at(column, row)) continue;
          const l = column * sx, t = row * sy, r = l + sx, b = t + sy;
          if (!at(column - 1, row)) { context.moveTo(l, t); context.lineTo(l, b); }
          if (!at(column + 1, row)) { context.moveTo(r, t); context.lineTo(r, b); }
          if (!at(column, row - 1)) { context.moveTo(l, t); context.lineTo(r, t); }
          if (!at(column, row + 1)) { context.moveTo(l, b); context.lineTo(r, b); }
        }
      }
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.lineCap = "square";
      context.stroke();
    }

    cross(context, thickness) {
      const { width, height } = context.canvas;
      const x = ((state.point[this.across] + 0.5) * width) / this.width;
      const y = ((this.row(state.point[this.down]) + 0.5) * height) / this.height;
      const gap = 9 * thickness;
      context.beginPath();
      context.moveTo(0, y); context.lineTo(x - gap, y);
      context.moveTo(x + gap, y); context.lineTo(width, y);
      context.moveTo(x, 0); context.lineTo(x, y - gap);
      context.moveTo(x, y + gap); context.lineTo(x, height);
      context.strokeStyle = "rgb(255 255 255 / 0.55)";
      context.lineWidth = thickness;
      context.stroke();
    }
  }

  const indexOf = ([x, y, z]) => x * strides[0] + y * strides[1] + z * strides[2];
  const anomalyOf = (grey) => data.low + (grey / 255) * (data.high - data.low);

  const tell = () => {
    const mm = data.affine.slice(0, 3).map((row) =>
      row[3] + row[0] * state.point[0] + row[1] * state.point[1] + row[2] * state.point[2]);
    const index = indexOf(state.point), grey = scores[index], region = regions[index];
    const about = grey === 0 ? "≤ " : grey === 255 ? "≥ " : "≈ ";
    byId("place").textContent = [
      `${mm.map((value) => value.toFixed(0).replace("-", "−")).join(", ")} mm (R, A, S)`,
      `anomaly ${about}${anomalyOf(grey).toFixed(2)}`,
      region === 0 ? "not flagged" : region === UNLISTED ? "flagged, not listed" : `region ${region}`,
      ...(labels && labels[index] ? ["labelled"] : []),
    ].join(" · ");
    document.querySelectorAll("tr[data-region]").forEach((row) =>
      row.classList.toggle("chosen", Number(row.dataset.region) === state.region));
  };

  const planes = Object.keys(AXES).map((name) => new Plane(name));
  byId("planes").style.gridTemplateColumns = planes.map((plane) => `${plane.mm[0]}fr`).join(" ");

  let waiting = false;
  const draw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      planes.forEach((plane) => plane.draw());
      tell();
    });
  };

  const setContrast = (number) => {
    state.contrast = number;
    document.querySelector(`input[name="contrast"][value="${number}"]`).checked = true;
    draw();
  };
  const setOpacity = (value) => {
    state.opacity = value;
    byId("opacity").value = value;
    byId("opacity").nextElementSibling.textContent = `${value} %`;
    draw();
  };
  const setStart = (value) => {
    state.start = value;
    byId("start").value = value;
    byId("start").nextElementSibling.textContent = anomalyOf(value).toFixed(2);
    const scale = byId("scale").getContext("2d");
    for (let grey = 0; grey < 256; grey++) {
      scale.fillStyle = grey < value ? "rgb(60 60 60)" : `rgb(${colours[grey].map(Math.round).join(" ")})`;
      scale.fillRect(grey, 0, 1, 1);
    }
    draw();
  };
  const showRegion = (rank) => {
    if (rank < 1 || rank > data.cores.length) return;
    state.region = rank;
    state.point = [...data.cores[rank - 1]];
    draw();
  };

  document.querySelectorAll('input[name="contrast"]').forEach((input) =>
    input.addEventListener("change", () => setContrast(Number(input.value))));
  byId("opacity").addEventListener("input", (event) => setOpacity(Number(event.target.value)));
  byId("start").addEventListener("input", (event) => setStart(Number(event.target.value)));
  ["flagged", "labelled", "cross"].forEach((name) => {
    const box = byId(name);
    if (box) box.addEventListener("change", () => { state[name] = box.checked; draw(); });
  });
  document.querySelectorAll("tr[data-region]").forEach((row) =>
    row.addEventListener("click", () => {
      showRegion(Number(row.dataset.region));
      byId("viewer").scrollIntoView({ block: "nearest" });
    }));
  byId("low").textContent = `anomaly ${data.low.toFixed(2).replace("-", "−")}`;
  byId("high").textContent = data.high.toFixed(2);
  setStart(data.start);
  new ResizeObserver(draw).observe(byId("planes"));
  // For whoever waits for the viewer: pictures decode in their own time.
  document.documentElement.dataset.viewer = "ready";
})();
