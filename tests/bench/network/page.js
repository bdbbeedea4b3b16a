// Viewers in a page: each answers one offer and says what it saw.
const viewers = [];
window.view = async (sdp) => {
  const pc = new RTCPeerConnection({ iceServers: [] });
  const seen = { pc, connected: null, first: null };
  pc.addEventListener("iceconnectionstatechange", () => {
    if (/connected|completed/.test(pc.iceConnectionState)) seen.connected ??= performance.now();
  });
  pc.addEventListener("track", ({ track }) => {
    const video = document.createElement("video");
    Object.assign(video, { autoplay: true, muted: true, playsInline: true, srcObject: new MediaStream([track]) });
    video.requestVideoFrameCallback(() => { seen.first ??= performance.now(); });
    document.body.append(video);
  });
  viewers.push(seen);
  await pc.setRemoteDescription({ type: "offer", sdp });
  const gathered = new Promise((done) => {
    pc.addEventListener("icegatheringstatechange", () => { if (pc.iceGatheringState === "complete") done(); });
  });
  await pc.setLocalDescription();
  if (pc.iceGatheringState !== "complete") await gathered;
  return pc.localDescription.sdp;
};
window.seen = async (index) => {
  const { pc, connected, first } = viewers[index];
  const found = { firstMs: connected !== null && first !== null ? Math.max(0, first - connected) : null };
  const reports = [...(await pc.getStats()).values()];
  const video = reports.find(({ type, kind }) => type === "inbound-rtp" && kind === "video") ?? {};
  for (const name of ["framesDecoded", "framesDropped", "totalFreezesDuration", "pliCount", "nackCount"])
    found[name] = video[name] ?? 0;
  return found;
};
window.leave = () => viewers.splice(0).forEach(({ pc }) => pc.close());
