"""A Matrix client that nobody here wrote (matrix-nio), driven from a test.

Reads one JSON object from standard input: homeserver, user, password, room, type, contents (a list). Signs in, sends each
content as an event of that type, and prints one JSON object per line: first {"sent": [event ids]}, then the content of
every org.causeway.status in the room, until there is a final one for each content's id.

With "to_device" (a type) instead of a room it only listens: first {"device": its id}, then sender and content of every
to-device event of that type, for as long as it is let live.
"""

import asyncio
import json
import sys

from nio import AsyncClient, LoginResponse, RoomSendResponse, SyncResponse, UnknownEvent


async def listen(client: AsyncClient, event_type: str) -> None:
    print(json.dumps({"device": client.device_id}), flush=True)
    while True:
        answer = await client.sync(timeout=10_000)
        assert isinstance(answer, SyncResponse), answer
        for event in answer.to_device_events:
            if event.source["type"] == event_type:
                print(json.dumps({"sender": event.sender, "content": event.source["content"]}), flush=True)


async def main() -> None:
    task = json.load(sys.stdin)
    client = AsyncClient(task["homeserver"], task["user"])
    try:
        signed_in = await client.login(task["password"], device_name="nio")
        assert isinstance(signed_in, LoginResponse), signed_in
        if "to_device" in task:
            await listen(client, task["to_device"])
        first = await client.sync(timeout=0, full_state=True)
        assert isinstance(first, SyncResponse), first
        assert task["room"] in client.rooms, "the portal is not among the user's rooms"
        sent = []
        for content in task["contents"]:
            answer = await client.room_send(task["room"], task["type"], content)
            assert isinstance(answer, RoomSendResponse), answer
            sent.append(answer.event_id)
        print(json.dumps({"sent": sent}), flush=True)
        open_ids = {content["id"] for content in task["contents"]}
        while open_ids:
            answer = await client.sync(timeout=10_000)
            assert isinstance(answer, SyncResponse), answer
            room = answer.rooms.join.get(task["room"])
            for event in room.timeline.events if room else []:
                if isinstance(event, UnknownEvent) and event.type == "org.causeway.status":
                    content = event.source["content"]
                    print(json.dumps(content), flush=True)
                    if content.get("state") != "queued":
                        open_ids.discard(content.get("id"))
    finally:
        await client.close()


asyncio.run(asyncio.wait_for(main(), 120))
