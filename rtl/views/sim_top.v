// Simulation top: clock, a core or a chip, a source and a sink that read and write files, and the run itself.
//
// Plusargs (FILE formats: mapper/program.py; *_in files hold beats, first byte = most significant):
//   +boot=FILE +boot_in=FILE   program and beats to run first (constants and weights through the front door)
//   +program=FILE +in=FILE     the program and its input beats; for a chip the programs of all cores, one after the other
//   +after=FILE                big-endian u32 per input word: output words that must have left before it
//   +route=FILE +boot_route=FILE   for a chip: big-endian u32 per input word: core, bit 31 on the last of a packet
//   +stalls=FILE               byte per cycle, repeating: bit 0 holds the source back, bit 1 the sink
//   +out=FILE +results=FILE    output beats, binary in little-endian words of 32 bits; register values,
//                              "ADDRESS VALUE" in decimal (addresses of core k from 32 k on), then "cycles COUNT"
//                              (as long as busy) and "undefined COUNT" (beats with undefined bits)
//   +out_route=FILE            for a chip: u32 per output beat, as in +route, the core where it comes from
//   +length=N +timeout=N       register LEN; cycles after which a run is given up
//   +weights=FILE              weights through the back door, read by the macros
//   +dump=FILE                 wave dump
// `running` is high while the program proper runs, files aside; `finished` rises when everything is written.

`timescale 1ns / 1ns

module blockcim_sim;
  localparam STREAM = @STREAM@;
  localparam BEATS = @BEATS@;
  localparam CORES = @CORES@;
  localparam REGISTERS = 18;
  localparam MAX_STALLS = 65536;
  localparam BUFFER = 8192;  // beats that are read and written at a time

  reg clk = 0;
  reg rst = 1;
  reg running = 0;
  reg finished = 0;
  always #5 clk = ~clk;

  reg [4:0] reg_addr = 0;
  reg reg_we = 0;
  reg [31:0] reg_wdata = 0;
  wire [31:0] reg_rdata;
  wire in_ready, out_valid, out_last, irq, busy;
  wire [STREAM-1:0] out_data;
  // @each chip@
  reg [@CORE_BITS@-1:0] reg_core = 0, core_q = 0;
  reg reg_all = 0, all_q = 0;
  wire [@CORE_BITS@-1:0] out_core;
  reg [31:0] route = 0, next_route = 0;
  reg [31:0] out_routes[0:8191];
  integer route_file = 0, out_route_file = 0;
  // @end@

  // Source: one beat waits in `beat`; it is offered when its condition holds and no stall starts.
  reg [STREAM-1:0] beat = 0;
  reg [31:0] after = 0;
  reg have_beat = 0, held = 0;
  reg [31:0] out_words = 0, in_beat = 0, out_beat = 0, cycle = 0;
  reg [31:0] undefined = 0;
  reg [7:0] stalls[0:MAX_STALLS-1];
  reg [31:0] stall_count = 0, stall_at = 0;
  reg prime = 0;
  // What the run below sets is registered first: Verilator evaluates logic behind it twice a cycle.
  reg rst_q = 1, prime_q = 0, we_q = 0;
  reg [4:0] addr_q = 0;
  reg [31:0] wdata_q = 0, stall_count_q = 0;
  always @(posedge clk) begin
    rst_q <= rst;
    prime_q <= prime;
    we_q <= reg_we;
    addr_q <= reg_addr;
    wdata_q <= reg_wdata;
    // @each chip@
    core_q <= reg_core;
    all_q <= reg_all;
    // @end@
    stall_count_q <= stall_count;
  end

  // The first busy cycle is that of the start: cycles, and what the source offers, count from the next one on.
  reg begun = 0;
  wire runs = busy && begun;
  reg [1:0] stall = 0;  // of this cycle: a register for the same reason
  reg [31:0] next_stall = 0;
  wire in_valid = runs && have_beat && (out_words >= after) && (held || !stall[0]);
  wire out_ready = !stall[1];

  integer in_file = 0, after_file = 0, out_file = 0, got = 0, i = 0;
  reg [STREAM-1:0] in_buffer[0:BUFFER-1];
  reg [STREAM-1:0] out_buffer[0:BUFFER-1];
  reg [31:0] in_at = 0, in_count = 0, out_count = 0;
  reg [31:0] next_after = 0;

  task write_outputs;
    begin
      for (i = 0; i < out_count; i = i + 1)
        if (out_file != 0) begin
          $fwrite(out_file, "%u", out_buffer[i]);
          // @each chip@
          if (out_route_file != 0) $fwrite(out_route_file, "%u", out_routes[i]);
          // @end@
        end
      out_count = 0;
    end
  endtask

  always @(posedge clk) begin
    held <= in_valid && !in_ready;
    begun <= busy;
    next_stall = !runs ? 0 : (stall_at + 1 >= stall_count_q) ? 0 : stall_at + 1;
    stall_at <= next_stall;
    stall <= (stall_count_q != 0) ? stalls[next_stall[15:0]][1:0] : 2'b00;
    cycle <= runs ? cycle + 1 : 0;
    if (prime_q || (in_valid && in_ready)) begin
      if (prime_q || in_at == BUFFER) begin
        got = 0;
        if (in_file != 0) got = $fread(in_buffer, in_file);
        in_count = got / (STREAM / 8);
        in_at = 0;
      end
      beat <= in_buffer[in_at];
      have_beat <= in_at < in_count;
      if (in_at < in_count) in_at = in_at + 1;
      in_beat <= (prime_q || in_beat == BEATS - 1) ? 0 : in_beat + 1;
      if (prime_q || in_beat == BEATS - 1) begin
        next_after = 0;
        if (after_file != 0) got = $fread(next_after, after_file);
        after <= next_after;
        // @each chip@
        next_route = 0;
        if (route_file != 0) got = $fread(next_route, route_file);
        route <= next_route;
        // @end@
      end
    end
    if (prime_q) out_words <= 0;
    else if (out_valid && out_ready) begin
      if (out_count == BUFFER) write_outputs;
      out_buffer[out_count] = out_data;
      // @each chip@
      out_routes[out_count] = {out_last, 31'd0} | out_core;
      // @end@
      out_count = out_count + 1;
      if (^out_data === 1'bx) undefined <= undefined + 1;
      out_beat <= (out_beat == BEATS - 1) ? 0 : out_beat + 1;
      if (out_beat == BEATS - 1) out_words <= out_words + 1;
    end
  end

  // @each core@
  blockcim_core core (
      .clk(clk), .rst(rst_q), .first_tile(18'd0), .soft_reset(1'b0), .in_busy(), .halted(),
  // @end@
  // @each chip@
  blockcim_chip chip (
      .clk(clk), .rst(rst_q), .reg_core(core_q), .reg_all(all_q),
      .in_core(route[@CORE_BITS@-1:0]), .in_last(route[31] && in_beat == BEATS - 1), .out_core(out_core),
  // @end@
      .reg_addr(addr_q), .reg_we(we_q), .reg_wdata(wdata_q), .reg_rdata(reg_rdata),
      .in_valid(in_valid), .in_ready(in_ready), .in_data(beat),
      .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data), .out_last(out_last),
      .irq(irq), .busy(busy)
  );

  task write_reg(input [4:0] addr, input [31:0] value);
    begin
      @(posedge clk);
      reg_addr <= addr;
      reg_wdata <= value;
      reg_we <= 1;
    end
  endtask

  task read_reg(input [4:0] addr, output [31:0] value);
    begin
      @(posedge clk);
      reg_we <= 0;
      reg_addr <= addr;
      repeat (3) @(posedge clk);
      #1 value = reg_rdata;
    end
  endtask

  // Load a program file (a core: 16 bytes of header, then little-endian words) and run it to done, error or time-out.
  integer file, count, c;
  reg [31:0] data, limit, cycles, words;
  reg [31:0] header[0:3];
  task run_program(input string name);
    begin
      file = $fopen(name, "rb");
      if (file == 0) begin
        $display("blockcim_sim: cannot open %s", name);
        $finish;
      end
      for (c = 0; c < CORES; c = c + 1) begin
        count = $fread(header, file);
        words = {header[3][7:0], header[3][15:8], header[3][23:16], header[3][31:24]};
        words = words * {header[1][7:0], header[1][15:8]} / 4;
        // @each chip@
        reg_core <= c;
        // @end@
        write_reg(5'd8, 0);
        while (words != 0) begin
          count = $fread(data, file);
          write_reg(5'd9, {data[7:0], data[15:8], data[23:16], data[31:24]});
          words = words - 1;
        end
      end
      $fclose(file);
      @(posedge clk);
      reg_we <= 0;
      prime <= 1;
      @(posedge clk);
      prime <= 0;
      running = name == program_name;
      // @each chip@
      reg_all <= 1;
      // @end@
      write_reg(5'd6, 1);
      write_reg(5'd2, 1);
      @(posedge clk);
      reg_we <= 0;
      // @each chip@
      reg_all <= 0;
      // @end@
      repeat (4) @(posedge clk);
      while (busy && cycle < limit) begin
        cycles = cycle + 1;
        @(posedge clk);
      end
      running = 0;
      @(posedge clk);
    end
  endtask

  string name, boot, program_name;
  reg [31:0] value;
  integer r, results;
  initial begin
    if ($value$plusargs("dump=%s", name)) begin
      $dumpfile(name);
      $dumpvars(0, blockcim_sim);
    end
    if ($value$plusargs("weights=%s", name)) begin
      file = $fopen(name, "rb");
      if (file == 0) $display("blockcim_sim: cannot open %s", name);
      else $fclose(file);
    end
    if (!$value$plusargs("timeout=%d", limit)) limit = 32'hffffffff;
    repeat (4) @(posedge clk);
    rst <= 0;
    repeat (2) @(posedge clk);
    if ($value$plusargs("length=%d", value)) write_reg(5'd7, value);
    if ($value$plusargs("boot=%s", boot)) begin
      if ($value$plusargs("boot_in=%s", name)) in_file = $fopen(name, "rb");
      // @each chip@
      if ($value$plusargs("boot_route=%s", name)) route_file = $fopen(name, "rb");
      // @end@
      run_program(boot);
      if (in_file != 0) $fclose(in_file);
      in_file = 0;
      // @each chip@
      if (route_file != 0) $fclose(route_file);
      route_file = 0;
      // @end@
    end
    if ($value$plusargs("stalls=%s", name)) begin
      file = $fopen(name, "rb");
      stall_count = $fread(stalls, file);
      $fclose(file);
    end
    if ($value$plusargs("in=%s", name)) in_file = $fopen(name, "rb");
    if ($value$plusargs("after=%s", name)) after_file = $fopen(name, "rb");
    if ($value$plusargs("out=%s", name)) out_file = $fopen(name, "w");
    // @each chip@
    if ($value$plusargs("route=%s", name)) route_file = $fopen(name, "rb");
    if ($value$plusargs("out_route=%s", name)) out_route_file = $fopen(name, "w");
    // @end@
    if ($value$plusargs("program=%s", program_name)) run_program(program_name);
    if (out_file != 0) begin
      write_outputs;
      file = out_file;
      out_file = 0;
      $fclose(file);
      // @each chip@
      if (out_route_file != 0) $fclose(out_route_file);
      // @end@
    end
    if ($value$plusargs("results=%s", name)) begin
      results = $fopen(name, "w");
      for (c = 0; c < CORES; c = c + 1) begin
        // @each chip@
        reg_core <= c;
        // @end@
        for (r = 0; r < REGISTERS; r = r + 1) begin
          read_reg(r[4:0], value);
          $fwrite(results, "%0d %0d\n", 32 * c + r, value);
        end
      end
      $fwrite(results, "cycles %0d\n", cycles);
      $fwrite(results, "undefined %0d\n", undefined);
      $fclose(results);
    end
    finished = 1;
  end
endmodule
