/** As Kubernetes writes times: whole seconds. */
export const timestamp = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`

/** As the API server writes the times of Leases and Events: with exactly six digits, or it refuses the object. */
export const microTime = (ms: number): string => new Date(ms).toISOString().replace('Z', '000Z')
