import { expect, it } from "vitest";
import { pathOf, placeOf } from "./route";

it.each([
  ["/", { page: "conversation", id: null }],
  ["/c/abc-1_2", { page: "conversation", id: "abc-1_2" }],
  ["/c/abc/", { page: "conversation", id: "abc" }],
  ["/account", { page: "account" }],
  ["/admin", { page: "admin", tab: "" }],
  ["/admin/audit", { page: "admin", tab: "audit" }],
  ["/admin/../x", { page: "conversation", id: null }],
  ["/c/" + "x".repeat(65), { page: "conversation", id: null }],
])("%s shows %o", (path, place) => {
  expect(placeOf(path)).toEqual(place);
});

it.each(["/", "/c/abc", "/account", "/admin", "/admin/users"])("%s leads back to itself", (path) => {
  expect(pathOf(placeOf(path))).toBe(path);
});
