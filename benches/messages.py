"""Loads HL7 v2 messages into MongoDB with a typical script: python-hl7 parses them, pymongo inserts them.

usage: messages.py FILE URI DATABASE COLLECTION
"""

import sys

import hl7
from pymongo import MongoClient, WriteConcern

BATCH_DOCUMENTS = 1000


def messages(path):
    """Returns the messages of a file. Each begins with the segment MSH."""
    with open(path, newline="") as file:
        text = file.read()
    for part in text.split("MSH|")[1:]:
        yield "MSH|" + part


def document(text):
    message = hl7.parse(text)
    return {
        "type": str(message["MSH.F9.R1.C1"]),
        "event": str(message["MSH.F9.R1.C2"]),
        "controlId": str(message["MSH.F10"]),
        "sentAt": hl7.parse_datetime(str(message["MSH.F7"])),
        "patientIdentifier": str(message["PID.F3.R1.C1"]),
        "visitNumber": str(message["PV1.F19.R1.C1"]),
        "message": text,
    }


def main():
    path, uri, database, collection = sys.argv[1:]
    with MongoClient(uri) as client:
        durable = WriteConcern(w="majority", j=True)
        target = client[database].get_collection(collection, write_concern=durable)
        batch = []
        for text in messages(path):
            batch.append(document(text))
            if len(batch) == BATCH_DOCUMENTS:
                target.insert_many(batch)
                batch = []
        if batch:
            target.insert_many(batch)


main()
