"""Receives HL7 v2 messages over MLLP with a typical script: python-hl7 parses them, pymongo inserts each one.

usage: feed.py PORT URI DATABASE COLLECTION
"""

import asyncio
import sys

import hl7
from hl7.mllp import start_hl7_server
from pymongo import AsyncMongoClient, WriteConcern


def document(message):
    return {
        "type": str(message["MSH.F9.R1.C1"]),
        "event": str(message["MSH.F9.R1.C2"]),
        "controlId": str(message["MSH.F10"]),
        "sentAt": hl7.parse_datetime(str(message["MSH.F7"])),
        "patientIdentifier": str(message["PID.F3.R1.C1"]),
        "visitNumber": str(message["PV1.F19.R1.C1"]),
        "message": str(message),
    }


async def main():
    port, uri, database, collection = sys.argv[1:]
    async with AsyncMongoClient(uri) as client:
        durable = WriteConcern(w="majority", j=True)
        target = client[database].get_collection(collection, write_concern=durable)

        async def receive(reader, writer):
            try:
                while not writer.is_closing():
                    message = await reader.readmessage()
                    await target.insert_one(document(message))
                    writer.writemessage(message.create_ack("AA"))
                    await writer.drain()
            except asyncio.IncompleteReadError:
                writer.close()

        async with await start_hl7_server(receive, host="127.0.0.1", port=int(port)) as server:
            await server.serve_forever()


asyncio.run(main())
