// Made by `medlift provision --emit-init-js` from the dataset spec `admissions`. Do not edit: run it again.
//
// The official mongo image runs this once, on the first start with an empty volume, if it lies in
// /docker-entrypoint-initdb.d. Names and passwords come from the container's environment: DB_NAME, COLLECTION_NAME,
// and for each user its variable with _USER and _PASS (or _PASS_FILE). `medlift provision` brings an existing
// deployment to the same state.

const variable = (name) => {
  const file = process.env[name + "_FILE"];
  return file ? require("fs").readFileSync(file, "utf8").replace(/\r?\n$/, "") : process.env[name];
};
const user = (prefix, otherwise) => {
  // Without ADMIN_USER and ADMIN_PASS, the administrator has the root user's name and password.
  const own = variable(prefix + "_USER") || variable(prefix + "_PASS");
  const source = prefix === "ADMIN" && !own ? "MONGO_ROOT" : prefix;
  const name = variable(source + "_USER") || otherwise;
  const password = variable(source + "_PASS") || "";
  const lower = password.toLowerCase();
  const weak = [...password].length < 12 || new Set(password).size < 6 ||
    lower.includes(name.toLowerCase()) || ["password", "passw0rd", "changeme", "change-me", "12345678", "qwerty", "letmein", "mongodb"].some((word) => lower.includes(word));
  if (weak) throw new Error(source + "_PASS is missing or too weak");
  return { name, password };
};
const database = variable("DB_NAME") || "hospital";
const collection = variable("COLLECTION_NAME") || "admissions";
const admin = user("ADMIN", "admin");
const writer = user("WRITER", "writer");
const reader = user("READER", "reader");
const loader = user("LOADER", "loader");
const analyst = user("ANALYST", "analyst");

const run = (command) => {
  try {
    db.getSiblingDB(database).runCommand(command);
  } catch (error) {
    // Do not show the server's message: it may quote the command with a password.
    throw new Error(Object.keys(command)[0] + " failed: " + error.codeName);
  }
};

run({
  "create": collection,
  "validator": {
    "$jsonSchema": {
      "title": "admissions",
      "bsonType": "object",
      "required": ["Name", "Age", "Gender", "Blood Type", "Medical Condition", "Doctor", "Hospital", "Room Number", "Insurance Provider", "Admission Type", "Medication", "Test Results", "Date of Admission", "Discharge Date"],
      "properties": {
        "Name": {
          "bsonType": "string"
        },
        "Age": {
          "bsonType": "int",
          "minimum": Long("0"),
          "maximum": Long("130")
        },
        "Gender": {
          "bsonType": "string",
          "enum": ["Female", "Male"]
        },
        "Blood Type": {
          "bsonType": "string",
          "enum": ["A+", "A-", "AB+", "AB-", "B+", "B-", "O+", "O-"]
        },
        "Medical Condition": {
          "bsonType": "string"
        },
        "Doctor": {
          "bsonType": "string"
        },
        "Hospital": {
          "bsonType": "string"
        },
        "Room Number": {
          "bsonType": "int"
        },
        "Insurance Provider": {
          "bsonType": "string"
        },
        "Admission Type": {
          "bsonType": "string",
          "enum": ["Elective", "Emergency", "Urgent"]
        },
        "Medication": {
          "bsonType": "string"
        },
        "Test Results": {
          "bsonType": "string",
          "enum": ["Abnormal", "Inconclusive", "Normal"]
        },
        "Billing Amount": {
          "bsonType": ["double", "null"]
        },
        "Date of Admission": {
          "bsonType": "date"
        },
        "Discharge Date": {
          "bsonType": "date"
        }
      }
    }
  },
  "validationLevel": "strict",
  "validationAction": "error"
});
run({
  "createIndexes": collection,
  "indexes": [{
    "key": {
      "Date of Admission": Int32(-1)
    },
    "name": "by_admission"
  }, {
    "key": {
      "Medical Condition": Int32(1),
      "Date of Admission": Int32(-1)
    },
    "name": "by_condition_and_admission"
  }, {
    "key": {
      "Name": Int32(1)
    },
    "name": "by_name"
  }]
});
run({
  "create": "medlift_runs"
});
run({
  "create": collection + "_deidentified",
  "viewOn": collection,
  "pipeline": [{
    "$project": {
      "_id": Int32(0),
      "Age": {
        "$cond": [{
          "$gt": ["$Age", Int32(89)]
        }, Int32(90), "$Age"]
      },
      "Gender": "$Gender",
      "Blood Type": "$Blood Type",
      "Medical Condition": "$Medical Condition",
      "Insurance Provider": "$Insurance Provider",
      "Admission Type": "$Admission Type",
      "Medication": "$Medication",
      "Test Results": "$Test Results",
      "Billing Amount": "$Billing Amount",
      "Date of Admission": {
        "$cond": [{
          "$eq": [{
            "$type": "$Date of Admission"
          }, "date"]
        }, {
          "$max": [{
            "$year": "$Date of Admission"
          }, {
            "$subtract": [{
              "$year": "$$NOW"
            }, Int32(90)]
          }]
        }, null]
      },
      "Discharge Date": {
        "$cond": [{
          "$eq": [{
            "$type": "$Discharge Date"
          }, "date"]
        }, {
          "$max": [{
            "$year": "$Discharge Date"
          }, {
            "$subtract": [{
              "$year": "$$NOW"
            }, Int32(90)]
          }]
        }, null]
      },
      "Date of Admission to Discharge Date (days)": {
        "$cond": [{
          "$and": [{
            "$eq": [{
              "$type": "$Date of Admission"
            }, "date"]
          }, {
            "$eq": [{
              "$type": "$Discharge Date"
            }, "date"]
          }]
        }, {
          "$dateDiff": {
            "startDate": "$Date of Admission",
            "endDate": "$Discharge Date",
            "unit": "day"
          }
        }, null]
      }
    }
  }]
});
run({
  "createRole": "medliftLoader",
  "privileges": [{
    "resource": {
      "db": database,
      "collection": ""
    },
    "actions": ["dbStats", "listCollections"]
  }, {
    "resource": {
      "db": database,
      "collection": collection
    },
    "actions": ["find", "insert", "listIndexes", "update"]
  }, {
    "resource": {
      "db": database,
      "collection": "medlift_runs"
    },
    "actions": ["find", "insert", "listIndexes", "update"]
  }, {
    "resource": {
      "db": database,
      "collection": "medlift_runs.leases"
    },
    "actions": ["find", "insert", "listIndexes", "update"]
  }],
  "roles": []
});
run({
  "createRole": "medliftAnalyst",
  "privileges": [{
    "resource": {
      "db": database,
      "collection": collection + "_deidentified"
    },
    "actions": ["find"]
  }],
  "roles": []
});
run({
  "createUser": admin.name,
  "pwd": admin.password,
  "roles": [{
    "role": "dbAdmin",
    "db": database
  }],
  "mechanisms": ["SCRAM-SHA-256"],
  "customData": {
    "madeBy": "medlift provision"
  }
});
run({
  "createUser": writer.name,
  "pwd": writer.password,
  "roles": [{
    "role": "readWrite",
    "db": database
  }],
  "mechanisms": ["SCRAM-SHA-256"],
  "customData": {
    "madeBy": "medlift provision"
  }
});
run({
  "createUser": reader.name,
  "pwd": reader.password,
  "roles": [{
    "role": "read",
    "db": database
  }],
  "mechanisms": ["SCRAM-SHA-256"],
  "customData": {
    "madeBy": "medlift provision"
  }
});
run({
  "createUser": loader.name,
  "pwd": loader.password,
  "roles": [{
    "role": "medliftLoader",
    "db": database
  }],
  "mechanisms": ["SCRAM-SHA-256"],
  "customData": {
    "madeBy": "medlift provision"
  }
});
run({
  "createUser": analyst.name,
  "pwd": analyst.password,
  "roles": [{
    "role": "medliftAnalyst",
    "db": database
  }],
  "mechanisms": ["SCRAM-SHA-256"],
  "customData": {
    "madeBy": "medlift provision"
  }
});
