"""Loads admissions into MongoDB with pymongoarrow: reads the file into a typed Arrow table and writes it uncleaned.

usage: arrow.py FILE URI DATABASE COLLECTION
"""

import sys

import pyarrow as pa
from pyarrow import csv
from pymongo import MongoClient, WriteConcern
from pymongoarrow.api import write

TYPES = {
    "Age": pa.int32(),
    "Room Number": pa.int32(),
    "Billing Amount": pa.float64(),
    "Date of Admission": pa.timestamp("ms"),
    "Discharge Date": pa.timestamp("ms"),
}


def main():
    path, uri, database, collection = sys.argv[1:]
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=TYPES))
    with MongoClient(uri) as client:
        durable = WriteConcern(w="majority", j=True)
        write(client[database].get_collection(collection, write_concern=durable), table)


main()
