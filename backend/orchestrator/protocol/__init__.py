"""What browser and server say to each other: one class per frame, one union per direction.

Events are told in the past tense, commands in the imperative. The TypeScript types are generated from these classes
(`make types`); nothing here is defined twice.
"""

PROTOCOL_VERSION = 1
