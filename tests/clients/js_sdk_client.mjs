// A Matrix client that nobody here wrote (matrix-js-sdk), driven from a test. Same task and same words as nio_client.py.

import { createClient, ClientEvent, RoomEvent } from "matrix-js-sdk";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.setLevel?.("silent");
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const task = JSON.parse(Buffer.concat(chunks).toString());

const timer = setTimeout(() => {
  console.error("not within two minutes");
  process.exit(1);
}, 120_000);
const anonymous = createClient({ baseUrl: task.homeserver });
const session = await anonymous.loginRequest({
  type: "m.login.password",
  identifier: { type: "m.id.user", user: task.user },
  password: task.password,
});
const client = createClient({
  baseUrl: task.homeserver,
  accessToken: session.access_token,
  userId: session.user_id,
  deviceId: session.device_id,
});
if (task.to_device) {
  client.on(ClientEvent.ToDeviceEvent, (event) => {
    if (event.getType() !== task.to_device) return;
    console.log(JSON.stringify({ sender: event.getSender(), content: event.getContent() }));
  });
  await client.startClient({ initialSyncLimit: 10 });
  console.log(JSON.stringify({ device: session.device_id }));
  await new Promise(() => {});
}
const open = new Set(task.contents.map((content) => content.id));
const done = new Promise((resolve) => {
  client.on(RoomEvent.Timeline, (event, room, toStartOfTimeline) => {
    if (toStartOfTimeline || event.getRoomId() !== task.room || event.getType() !== "org.causeway.status") return;
    const content = event.getContent();
    if (!open.has(content.id)) return;
    console.log(JSON.stringify(content));
    if (content.state !== "queued") open.delete(content.id);
    if (open.size === 0) resolve();
  });
});
const prepared = new Promise((resolve) => client.once(ClientEvent.Sync, resolve));
await client.startClient({ initialSyncLimit: 10 });
await prepared;
if (!client.getRoom(task.room)) throw new Error("the portal is not among the user's rooms");
const sent = [];
for (const content of task.contents) {
  sent.push((await client.sendEvent(task.room, task.type, content)).event_id);
}
console.log(JSON.stringify({ sent }));
await done;
client.stopClient();
clearTimeout(timer);
process.exit(0);
