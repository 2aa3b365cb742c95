import { installFakeServer } from "./server";

installFakeServer();
void import("../src/app/main");
