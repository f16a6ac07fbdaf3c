"""Loads FHIR resources into MongoDB with a typical script: json parses the lines, pymongo inserts them into one
collection for each resource type.

usage: resources.py FILE URI DATABASE COLLECTION
"""

import json
import sys
from collections import defaultdict
from datetime import datetime

from pymongo import MongoClient, WriteConcern

BATCH_DOCUMENTS = 1000


def main():
    path, uri, database, _ = sys.argv[1:]
    with MongoClient(uri) as client:
        durable = WriteConcern(w="majority", j=True)
        batches = defaultdict(list)

        def insert(kind):
            client[database].get_collection(kind, write_concern=durable).insert_many(batches.pop(kind))

        with open(path) as file:
            for line in file:
                resource = json.loads(line)
                resource["_id"] = resource["id"]
                resource["meta"]["lastUpdated"] = datetime.fromisoformat(resource["meta"]["lastUpdated"])
                batch = batches[resource["resourceType"]]
                batch.append(resource)
                if len(batch) == BATCH_DOCUMENTS:
                    insert(resource["resourceType"])
        for kind in list(batches):
            insert(kind)


main()
