// A peer in a page: the wire protocol and perfect negotiation, nothing else.
async function connectPeer(url, channel, options) {
  const socket = new WebSocket(url);
  const peer = { id: null, remotes: {}, errors: [], data: [], meta: [], options };
  let count = 0;
  const say = (frame) => socket.send(JSON.stringify({ requestId: `b${++count}`, ...frame }));
  peer.send = (to, data) => say({ type: "send", to, data });
  peer.socket = socket;
  const fail = (what) => (error) => peer.errors.push(`${what}: ${error.name} ${error.message}`);
  peer.tone = (hz) => {
    const context = new AudioContext();
    const oscillator = new OscillatorNode(context, { frequency: hz });
    const out = context.createMediaStreamDestination();
    oscillator.connect(out);
    oscillator.start();
    context.resume();
    return out.stream;
  };
  function remoteOf(id) {
    if (peer.remotes[id]) return peer.remotes[id];
    const pc = new RTCPeerConnection({ iceServers: [] });
    const remote = { id, pc, polite: peer.id < id, making: false, ignoring: false, tracks: [] };
    peer.remotes[id] = remote;
    pc.onnegotiationneeded = async () => {
      try {
        remote.making = true;
        await pc.setLocalDescription();
        peer.send(id, { type: "rtc-description", description: pc.localDescription });
      } catch (error) { fail("offer")(error); } finally { remote.making = false; }
    };
    pc.onicecandidate = ({ candidate }) => peer.send(id, { type: "rtc-ice", candidate: candidate && candidate.toJSON() });
    pc.ontrack = ({ track, streams }) => {
      remote.tracks.push({ kind: track.kind, id: track.id, streams: streams.map((s) => s.id) });
      const element = document.createElement(track.kind);
      element.autoplay = true;
      element.muted = track.kind === "video";
      element.srcObject = new MediaStream([track]);
      document.body.append(element);
    };
    if (options.offer) {
      pc.addTransceiver("video", { direction: "recvonly" });
      pc.addTransceiver("audio", { direction: "recvonly" });
    }
    if (options.tone) {
      const stream = peer.tone(options.tone);
      stream.getTracks().forEach((track) => pc.addTrack(track, stream));
    }
    return remote;
  }
  peer.talk = (id, hz) => {
    const stream = peer.tone(hz);
    return stream.getTracks().map((track) => peer.remotes[id].pc.addTrack(track, stream));
  };
  async function signal(id, data) {
    let remote = remoteOf(id), { pc } = remote;
    if (data.__meteredTrackMeta) { peer.meta.push(data.__meteredTrackMeta); return; }
    if (data.type === "rtc-description") {
      const { description } = data;
      const collision = description.type === "offer" && (remote.making || pc.signalingState !== "stable");
      remote.ignoring = !remote.polite && collision;
      if (remote.ignoring) return;
      if (collision && !pc.remoteDescription) {
        // Chromium never gathers a candidate again when its very first offer is rolled back at once.
        pc.close();
        delete peer.remotes[id];
        remote = remoteOf(id);
        pc = remote.pc;
      }
      await pc.setRemoteDescription(description);
      if (description.type === "offer") {
        await pc.setLocalDescription();
        peer.send(id, { type: "rtc-description", description: pc.localDescription });
      }
    } else if (data.type === "rtc-ice") {
      try { await pc.addIceCandidate(data.candidate ?? undefined); } catch (error) {
        if (!remote.ignoring) throw error;
      }
    } else peer.data.push(data);
  }
  let chain = Promise.resolve();
  socket.onmessage = ({ data: text }) => {
    const frame = JSON.parse(text);
    if (frame.type === "welcome") { peer.id = frame.peerId; say({ type: "subscribe", channel }); }
    if (frame.type === "presence") frame.joined.forEach(({ peerId }) => remoteOf(peerId));
    if (frame.type === "presence") frame.left.forEach(({ peerId }) => {
      peer.remotes[peerId]?.pc.close();
      delete peer.remotes[peerId];
    });
    if (frame.type === "direct") chain = chain.then(() => signal(frame.from, frame.data)).catch(fail("signal"));
  };
  peer.stats = async (id) => {
    const found = { frames: 0, energy: 0, state: peer.remotes[id]?.pc.connectionState, mime: null };
    const reports = [...(await peer.remotes[id].pc.getStats()).values()];
    for (const report of reports) {
      if (report.type !== "inbound-rtp") continue;
      if (report.kind === "video") {
        found.frames += report.framesDecoded ?? 0;
        found.mime = reports.find((r) => r.id === report.codecId)?.mimeType ?? found.mime;
      } else found.energy += report.totalAudioEnergy ?? 0;
    }
    return found;
  };
  window.peer = peer;
}
