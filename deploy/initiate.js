// Initiates the replica set at the first start, and waits until the database accepts writes. At its first start, the
// database's container creates the root user before it listens on the network.
const { readFileSync } = require("fs");
const user = process.env.MONGO_ROOT_USER;
// Other users could see a password on a command line, so it is read from a file.
const password = readFileSync(process.env.MONGO_ROOT_PASS_FILE, "utf8").replace(/\r?\n$/, "");
const uri = "mongodb://mongo:27017/admin?directConnection=true&serverSelectionTimeoutMS=1000";
const deadline = Date.now() + 120000;

function isReady() {
  const admin = connect(uri);
  if (!admin.auth(user, password)) return false;
  let hello = admin.hello();
  if (!hello.setName) {
    admin.adminCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "mongo:27017" }] } });
    hello = admin.hello();
  }
  return hello.isWritablePrimary && Boolean(hello.setName);
}

let problem = "it is not the primary";
while (Date.now() < deadline) {
  try {
    if (isReady()) quit(0);
  } catch (error) {
    problem = error.codeName || error.name;
    if (problem === "AuthenticationFailed") {
      print("MONGO_ROOT_USER or the root password is not that of the database.");
      quit(1);
    }
  }
  sleep(100);
}
print(`The database does not accept writes: ${problem}. Its log: docker compose exec mongo tail /data/db/mongod.log`);
quit(1);
