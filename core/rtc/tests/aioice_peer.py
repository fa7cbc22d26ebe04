"""An aioice agent that speaks with a test over its standard input and output.

In:  `remote UFRAG PASSWORD LITE CANDIDATE…` (candidates separated by |), `send TEXT`, `close`
Out: `local UFRAG PASSWORD CANDIDATE…`, `connected`, `received TEXT`, `failed REASON`
"""

import asyncio
import sys

import aioice


def say(*words):
    print(*words, flush=True)


async def lines():
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().rstrip("\n")


async def receive(connection):
    while True:
        try:
            say("received", (await connection.recv()).decode())
        except ConnectionError:
            return


async def main(controlling, told):
    # Only loopback, so that no test traffic leaves the machine.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    connection = aioice.Connection(ice_controlling=controlling)
    await connection.gather_candidates()
    candidates = [candidate.to_sdp() for candidate in connection.local_candidates] if told else []
    say("local", connection.local_username, connection.local_password, "|".join(candidates))
    receiver = None
    async for line in lines():
        verb, _, rest = line.partition(" ")
        if verb == "remote":
            ufrag, password, lite, candidates = rest.split(" ", 3)
            connection.remote_username, connection.remote_password = ufrag, password
            connection.remote_is_lite = lite == "1"
            for candidate in filter(None, candidates.split("|")):
                await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
            await connection.add_remote_candidate(None)
            try:
                await connection.connect()
            except ConnectionError as error:
                say("failed", error)
                return
            say("connected")
            receiver = asyncio.create_task(receive(connection))
        elif verb == "send":
            await connection.send(rest.encode())
        elif verb == "close":
            break
    if receiver:
        receiver.cancel()
    await connection.close()


asyncio.run(main(sys.argv[1] == "1", sys.argv[2] == "1"))
