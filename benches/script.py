"""Loads admissions into MongoDB with a typical script: pandas cleans the rows, pymongo inserts them.

usage: script.py FILE URI DATABASE COLLECTION
"""

import sys

import pandas as pd
from pymongo import MongoClient, WriteConcern

BATCH_DOCUMENTS = 1000


def main():
    path, uri, database, collection = sys.argv[1:]
    frame = pd.read_csv(path)
    frame["Name"] = frame["Name"].str.title()
    frame = frame.drop_duplicates()
    for column in ("Date of Admission", "Discharge Date"):
        frame[column] = pd.to_datetime(frame[column])
    documents = frame.to_dict("records")
    with MongoClient(uri) as client:
        durable = WriteConcern(w="majority", j=True)
        target = client[database].get_collection(collection, write_concern=durable)
        for start in range(0, len(documents), BATCH_DOCUMENTS):
            target.insert_many(documents[start : start + BATCH_DOCUMENTS])


main()
