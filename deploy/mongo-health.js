// The health check of the database's container. At the first start, it initiates the replica set. It succeeds if this
// server is the primary. It reads the password from a file, because other users could see a command line.
const user = process.env.MONGO_INITDB_ROOT_USERNAME;
const password = require("fs").readFileSync(process.env.MONGO_INITDB_ROOT_PASSWORD_FILE, "utf8").trim();
const admin = connect("mongodb://127.0.0.1:27017/admin?directConnection=true&serverSelectionTimeoutMS=5000");

if (!admin.auth(user, password)) quit(1);
let hello = admin.hello();
if (!hello.setName) {
  const members = [{ _id: 0, host: "mongo:27017" }];
  try {
    admin.adminCommand({ replSetInitiate: { _id: "rs0", members } });
  } catch (error) {
    if (error.codeName !== "AlreadyInitialized") quit(1);
  }
  hello = admin.hello();
}
quit(hello.isWritablePrimary ? 0 : 1);
