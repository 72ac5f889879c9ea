import { launchChromium, launchFirefox } from './support/browser.mjs';
import http from 'node:http';
const server = http.createServer((q, r) => { r.setHeader('content-type', 'text/html'); r.end('<!doctype html><p>x'); }).listen(0, '127.0.0.1');
await new Promise((r) => server.once('listening', r));
const url = `http://localhost:${server.address().port}/`;
const probe = async () => {
  const out = {};
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: false });
  const pc = new RTCPeerConnection();
  const t = pc.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendrecv', sendEncodings: [
    { rid: 'q', active: false, scaleResolutionDownBy: 4, maxBitrate: 150000 }, { rid: 'h', active: false, scaleResolutionDownBy: 2, maxBitrate: 500000 }, { rid: 'f', active: true, maxBitrate: 1500000 } ] });
  pc.addTransceiver('video', { direction: 'recvonly' });
  const offer = await pc.createOffer();
  await pc.setLocalDescription(offer);
  out.sdp = offer.sdp;
  out.settings = stream.getVideoTracks()[0].getSettings();
  out.params = t.sender.getParameters().encodings;
  return out;
};
const which = process.argv[2];
if (which === 'c') {
  const c = await launchChromium({});
  const page = await c.context.newPage(); await page.goto(url);
  console.log(JSON.stringify(await page.evaluate(probe)));
  await c.close();
} else {
  const f = await launchFirefox();
  const page = await f.browser.newPage(); await page.goto(url);
  console.log(JSON.stringify(await page.evaluate(probe)));
  await f.close();
}
server.close();
