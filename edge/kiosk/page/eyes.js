// The camera: the browser's own, or the device's as the service streams it. Gives frames to the service one at a time; while
// nothing moves and the answer is sure, hardly any.

import * as api from "./api.js";

const SIDE = 640, SMALL = 24;
const STILL = 3.0; // mean difference in grey levels of two frames at 24x18
const GONE = 9.0; // of a frame and the scene without a product
const AGAIN_MS = 2000; // before a camera or a stream that ended is tried again

function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (one) => one.toString(16).padStart(2, "0")).join("");
}

export class Eyes {
  constructor(video, image, settings, say) {
    this.video = video;
    this.image = image;
    this.settings = settings;
    this.say = say; // {answer, problem, moved}
    this.session = randomName();
    this.isPaused = false;
    this.canvas = document.createElement("canvas");
    this.small = document.createElement("canvas");
    this.small.width = SMALL;
    this.small.height = 18;
    this.before = null;
    this.empty = null; // the scene without a product, learnt when nothing has moved for long
    this.lastMove = performance.now();
    this.count = 0;
    this.last = null;
  }

  async start() {
    const wanted = this.settings.camera;
    if (wanted === "off") return this.say.problem("no_camera_more", "");
    if (wanted === "device" || (wanted === "auto" && !navigator.mediaDevices?.getUserMedia && this.settings.has_device_camera)) return this.startDevice();
    if (!navigator.mediaDevices?.getUserMedia) return this.say.problem("no_camera_more", "camera_insecure");
    try {
      const video = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } };
      this.video.srcObject = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      await this.video.play();
    } catch (error) {
      if (this.settings.has_device_camera) return this.startDevice();
      this.say.problem("no_camera_more", error.name === "NotAllowedError" ? "camera_denied" : "");
      return setTimeout(() => this.start(), 10000);
    }
    this.loop();
  }

  startDevice() {
    this.isDevice = true;
    this.video.hidden = true;
    this.image.hidden = false;
    this.image.onerror = () => setTimeout(() => this.showStream(), AGAIN_MS);
    this.follow();
  }

  showStream() { // an image whose stream ended never goes on by itself
    this.image.removeAttribute("src");
    this.image.src = "/v1/stream";
  }

  follow() {
    this.showStream();
    const events = new EventSource("/v1/stream/answers");
    events.addEventListener("answer", (event) => {
      if (this.isPaused) return;
      const answer = JSON.parse(event.data);
      this.look();
      this.say.answer(answer, this.isEmpty());
    });
    events.addEventListener("problem", (event) => this.say.problem("no_camera_more", "", JSON.parse(event.data)));
    events.onerror = () => { // after a refusal the browser itself would not try again
      events.close();
      this.say.offline();
      setTimeout(() => this.follow(), AGAIN_MS);
    };
  }

  isUnplugged() {
    return this.video.srcObject.getTracks().every((one) => one.readyState === "ended");
  }

  source() {
    return this.isDevice ? this.image : this.video;
  }

  size() {
    const from = this.source();
    return [from.videoWidth ?? from.naturalWidth ?? 0, from.videoHeight ?? from.naturalHeight ?? 0];
  }

  photo(side = SIDE, quality = 0.85) {
    const [width, height] = this.size();
    if (!width) return Promise.resolve(null);
    const scale = Math.min(1, side / Math.max(width, height));
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.getContext("2d").drawImage(this.source(), 0, 0, this.canvas.width, this.canvas.height);
    return new Promise((done) => this.canvas.toBlob(done, "image/jpeg", quality));
  }

  look() { // how much has moved since the frame before
    const [width] = this.size();
    if (!width) return 0;
    const context = this.small.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.source(), 0, 0, SMALL, 18);
    const now = context.getImageData(0, 0, SMALL, 18).data;
    const moved = this.before ? difference(now, this.before) : 255;
    this.before = now;
    if (moved > STILL) this.lastMove = performance.now();
    this.now = now;
    return moved;
  }

  stillFor() {
    return performance.now() - this.lastMove;
  }

  learnEmpty() {
    this.empty = this.now;
  }

  isEmpty() {
    return this.empty !== null && this.now !== undefined && difference(this.now, this.empty) < GONE;
  }

  forget() {
    this.session = randomName();
    this.last = null;
  }

  async loop() {
    if (this.isUnplugged()) { // its last picture stays on the screen, and would be answered for ever
      this.forget();
      this.say.problem("no_camera_more", "");
      return setTimeout(() => this.start(), AGAIN_MS);
    }
    let pause = 60;
    try {
      const moved = this.look();
      const isSettled = this.last?.sure && moved < STILL && performance.now() - this.sent < 2500;
      if (this.isPaused || document.hidden || isSettled) {
        pause = 150;
      } else if (this.isEmpty()) {
        pause = 150;
        this.say.empty();
      } else {
        const photo = await this.photo();
        if (photo) {
          this.sent = performance.now();
          const session = this.session;
          // One that is in view goes on settling the answer.
          const wantsCode = this.settings.has_bar_codes && (this.last?.bar_code || this.count++ % 3 === 0);
          const answer = await api.match(photo, session, wantsCode);
          if (session === this.session && !this.isPaused) {
            this.last = answer;
            this.say.answer(answer, false);
          }
        }
      }
    } catch (error) {
      if (error instanceof api.Refused) {
        pause = Math.max(300, error.retry * 1000);
        if (error.status === 503 || error.status === 429) this.say.busy();
      } else {
        pause = 1500;
        this.say.offline();
      }
    }
    setTimeout(() => this.loop(), pause);
  }
}

function difference(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 4) {
    sum += Math.abs(a[at] + a[at + 1] + a[at + 2] - b[at] - b[at + 1] - b[at + 2]);
  }
  return sum / 3 / (a.length / 4);
}
