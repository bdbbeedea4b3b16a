// This browser's own key (Ed25519), for doors that want signed requests. Its private half never leaves the browser.

/** What is signed: edge_node/call/signed.py reads the same. */
export function signedText({ node, challenge, door, nonce, at, me }) {
	return ["edge-node/door.open/1", node, challenge, door, nonce, at, me].join("\n");
}

const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");

function done(request) {
	return new Promise((resolve, reject) => {
		request.onsuccess = () => resolve(request.result);
		request.onerror = () => reject(request.error);
	});
}

async function pair() {
	const opening = indexedDB.open("edge-node", 1);
	opening.onupgradeneeded = () => opening.result.createObjectStore("keys");
	const base = await done(opening);
	const made = await crypto.subtle.generateKey("Ed25519", false, ["sign"]);
	const store = base.transaction("keys", "readwrite").objectStore("keys");
	const known = await done(store.get("door"));
	if (!known) await done(store.put(made, "door"));
	base.close();
	return known ?? made;
}

let loading = null;

/** {key, signature} of a request. Nothing where the browser has no keys (no https, too old). */
export async function prove(request = {}) {
	try {
		const { publicKey, privateKey } = await (loading ??= pair());
		const key = hex(await crypto.subtle.exportKey("raw", publicKey));
		const text = new TextEncoder().encode(signedText(request));
		return { key, signature: hex(await crypto.subtle.sign("Ed25519", privateKey, text)) };
	} catch {
		loading = null;
		return {};
	}
}
