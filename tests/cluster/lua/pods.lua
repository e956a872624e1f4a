-- Which pod answers a request. The table of endpoints is the shared one of all workers, told by the translator.
local balancer = require "ngx.balancer"

local _M = {}
local turn = 0

-- POST, a line for each backend: "namespace/service:port address:port address:port". It replaces the last table.
function _M.learn()
  if ngx.req.get_method() ~= "POST" then
    return ngx.exit(ngx.HTTP_BAD_REQUEST)
  end
  ngx.req.read_body()
  local endpoints, told = ngx.shared.endpoints, {}
  for backend, addresses in string.gmatch(ngx.req.get_body_data() or "", "(%S+)([^\n]*)\n") do
    endpoints:set(backend, addresses)
    told[backend] = true
  end
  for _, backend in ipairs(endpoints:get_keys(0)) do
    if not told[backend] then
      endpoints:delete(backend)
    end
  end
end

-- 503 while there is no pod; where a pod is chosen it would be too late to say so.
function _M.admit()
  if (ngx.shared.endpoints:get(ngx.var.backend) or "") == "" then
    return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE)
  end
end

-- In turn; a second try, after a connection that failed, goes to another pod if there is one.
function _M.choose()
  local addresses = {}
  for address in string.gmatch(ngx.shared.endpoints:get(ngx.var.backend) or "", "%S+") do
    if address ~= ngx.ctx.tried then
      addresses[#addresses + 1] = address
    end
  end
  local chosen = ngx.ctx.tried
  if #addresses > 0 then
    turn = turn + 1
    chosen = addresses[turn % #addresses + 1]
  end
  if chosen == nil then
    return ngx.exit(ngx.ERROR) -- the last one has gone since it was admitted
  end
  if ngx.ctx.tried == nil then
    balancer.set_more_tries(1)
  end
  ngx.ctx.tried = chosen
  local host, port = string.match(chosen, "^(.*):(%d+)$")
  local set, reason = balancer.set_current_peer(host, tonumber(port))
  if not set then
    ngx.log(ngx.ERR, "cannot use ", chosen, ": ", reason)
    return ngx.exit(ngx.HTTP_INTERNAL_SERVER_ERROR)
  end
end

return _M
